"""Pictures of schedules and simulations, and the page that steps through one.

All of them refuse what is too large for the eye with a ValueError of one line. Pictures are matplotlib figures, written
as .svg or .png where a path is given; the same input gives the same bytes.
"""

from ringleader.collectives.draw.lines import curves
from ringleader.collectives.draw.network import link_load
from ringleader.collectives.draw.page import page
from ringleader.collectives.draw.panels import ownership
from ringleader.collectives.draw.simulated import space_time

__all__ = ["curves", "link_load", "ownership", "page", "space_time"]
