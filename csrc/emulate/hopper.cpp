// Hopper's barriers, copies and products. On the emulator a copy comes when somebody waits for its barrier, and a product is
// computed at its wait: as late as can be, so that a missing wait shows.
#include "warpgroup.h"

#include <string.h>

#include <algorithm>

#include "conversions.h"
#include "scheduler.h"

namespace emulate {

namespace {

uint32_t swizzled(uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

unsigned char* dynamic() { return static_cast<unsigned char*>(dynamic_shared()); }

// --- mbarriers --------------------------------------------------------------------------------------------------------------

struct Phase {  // what the 64 bits of a barrier are here; on a GPU nobody may look into them
  uint16_t expected, pending;  // arrivals: of each phase, still missing in this one
  uint32_t bytes_and_parity;   // bytes that have yet to come, and above them the phase's parity
  static constexpr uint32_t BYTES = (1u << 31) - 1;
  uint32_t bytes() const { return bytes_and_parity & BYTES; }
  uint32_t parity() const { return bytes_and_parity >> 31; }
};
static_assert(sizeof(Phase) == sizeof(uint64_t), "a barrier has 64 bits");

Phase read(const uint64_t* barrier) {
  Phase phase;
  memcpy(&phase, barrier, sizeof phase);
  return phase;
}

// Puts it back; if nothing is missing any more, the next phase begins, and who waited for it goes on. `queues`: if the order
// is scrambled, perhaps before this thread does.
void write(uint64_t* barrier, Phase phase, bool queues) {
  const bool over = phase.pending == 0 && phase.bytes() == 0;
  if (over) {
    phase.pending = phase.expected;
    phase.bytes_and_parity = (phase.parity() ^ 1) << 31;
  }
  memcpy(barrier, &phase, sizeof phase);
  if (over) wake(current()->block->at_mbarrier[barrier], queues);
}

// --- TMA --------------------------------------------------------------------------------------------------------------------

unsigned bytes_of(const TensorMap& map) {
  return static_cast<unsigned>(map.box[0] * map.box[1] * map.box[2] * map.box[3] * map.item);
}

// Copies the box, row after row of it. Nothing of an array is outside of its extents: zeros are written there.
void copy_box(const BoxCopy& copy) {
  const TensorMap& map = *copy.map;
  const uint32_t to = shared_address(copy.to);
  const int row_bytes = map.box[0] * map.item;
  for (int i = 0; i < map.box[1] * map.box[2] * map.box[3]; i++) {
    const long long at[4] = {copy.at[0], copy.at[1] + i % map.box[1], copy.at[2] + i / map.box[1] % map.box[2],
                             copy.at[3] + i / map.box[1] / map.box[2]};
    bool row_inside = true;
    const unsigned char* from = map.start;
    for (int axis = 1; axis < 4; axis++) {
      row_inside = row_inside && at[axis] >= 0 && at[axis] < map.extents[axis];
      from += at[axis] * map.strides[axis];
    }
    for (int column = 0; column < map.box[0]; column++) {
      const long long place = at[0] + column;
      unsigned char* target = dynamic() + swizzled(to + static_cast<uint32_t>(i * row_bytes + column * map.item));
      if (row_inside && place >= 0 && place < map.extents[0]) {
        memcpy(target, from + place * map.item, static_cast<size_t>(map.item));
      } else {
        memset(target, 0, static_cast<size_t>(map.item));
      }
    }
  }
}

// What is under way to a barrier comes no sooner than somebody waits for it, so that a missing wait shows.
void deliver_boxes(uint64_t* barrier) {
  std::vector<BoxCopy>& boxes = current()->block->boxes;
  for (size_t i = 0; i < boxes.size();) {
    if (boxes[i].barrier != barrier) {
      i++;
      continue;
    }
    const BoxCopy copy = boxes[i];
    boxes.erase(boxes.begin() + static_cast<long>(i));
    copy_box(copy);
    box_done(copy);
    Phase phase = read(barrier);
    if (phase.bytes() < copy.bytes) {
      fail("mbarrier", copy.site, "a copy of %u bytes comes to a barrier that expects %u", copy.bytes, phase.bytes());
    }
    phase.bytes_and_parity -= copy.bytes;
    write(barrier, phase, false);
  }
}

}  // namespace

void mbarrier_init(uint64_t* barrier, unsigned arrivals, Site site) {
  touch(barrier, sizeof *barrier, Access::write, site);
  const Phase phase{static_cast<uint16_t>(arrivals), static_cast<uint16_t>(arrivals), 0};
  memcpy(barrier, &phase, sizeof phase);
}

void mbarrier_arrive(uint64_t* barrier, unsigned bytes, Site site) {
  touch(barrier, sizeof *barrier, Access::atomic, site);
  mbarrier_told(*current(), barrier);
  Phase phase = read(barrier);
  if (phase.pending == 0) fail("mbarrier", site, "more than the %u arrivals of a phase", phase.expected);
  phase.pending--;
  phase.bytes_and_parity += bytes;
  write(barrier, phase, true);
}

void mbarrier_wait(uint64_t* barrier, unsigned parity, Site site) {
  touch(barrier, sizeof *barrier, Access::poll, site);
  for (;;) {
    deliver_boxes(barrier);
    if (read(barrier).parity() != parity % 2) break;
    wait_in(current()->block->at_mbarrier[barrier], "mbarrier_wait", site);
  }
  mbarrier_heard(barrier);
}

void tma_load(void* shared, const TensorMap* map, uint64_t* barrier, const int (&at)[4], Site site) {
  const unsigned bytes = bytes_of(*map);
  if (map->box[0] * map->item != 128) fail("tma", site, "rows of %d bytes, not 128", map->box[0] * map->item);
  if (shared_address(shared) % 1024 != 0) fail("misaligned", site, "tma_load to an address that is no multiple of 1024");
  BoxCopy copy{shared, map, barrier, {at[0], at[1], at[2], at[3]}, bytes, current(), site};
  box_issued(copy);
  if (launch().scrambled) memset(shared, 0xff, bytes);
  current()->block->boxes.push_back(copy);
  wake(current()->block->at_mbarrier[barrier], true);
}

// --- wgmma: nothing is computed before the wait ------------------------------------------------------------------------------

namespace {

struct Place {  // a descriptor's fields, in bytes
  explicit Place(uint64_t bits)
      : start(static_cast<uint32_t>(bits & 0x3fff) << 4),
        between_slabs(static_cast<uint32_t>(bits >> 16 & 0x3fff) << 4),
        between_groups(static_cast<uint32_t>(bits >> 32 & 0x3fff) << 4) {}
  uint32_t start, between_slabs, between_groups;

  // Of number k of row `row`, for rows along k.
  uint32_t along_k(unsigned row, unsigned k) const {
    return swizzled(start + row / 8 * between_groups + row % 8 * 128 + k * 2);
  }
  // Of number k of column `column`, for rows across k.
  uint32_t across_k(unsigned column, unsigned k) const {
    return swizzled(start + column / 64 * between_slabs + k / 8 * between_groups + k % 8 * 128 + column % 64 * 2);
  }
  uint32_t of(bool transposed, unsigned line, unsigned k) const {
    return transposed ? across_k(line, k) : along_k(line, k);
  }
};

constexpr unsigned DEPTH = 16, MOST_COLUMNS = 256;

float number(Factor factor, const void* at) {
  uint16_t bits;
  memcpy(&bits, at, sizeof bits);
  return factor == Factor::half ? half_to_float(bits) : bfloat16_to_float(bits);
}

unsigned warp_row(const Thread& thread) { return thread.linear / 32 % 4 * 16; }  // of the warpgroup's 64

// Product `index` of each lane, into what is held for d.
void multiply(Warp& warp, size_t index) {
  const PendingProduct& first = warp.lanes[0].products[index];
  static float a[16][DEPTH], b[DEPTH][MOST_COLUMNS];  // one launch at a time
  const Place a_place(first.a_place), b_place(first.b_place);
  for (unsigned k = 0; k < DEPTH; k++) {
    for (unsigned column = 0; column < first.columns; column++) {
      b[k][column] = number(first.factor, dynamic() + b_place.of(first.transposed_b, column, k));
    }
    for (unsigned row = 0; row < 16 && !first.from_registers; row++) {
      a[row][k] = number(first.factor, dynamic() + a_place.of(first.transposed_a, warp_row(warp.lanes[0]) + row, k));
    }
  }
  for (unsigned lane = 0; lane < 32 && first.from_registers; lane++) {
    for (unsigned part = 0; part < 4; part++) {
      for (unsigned i = 0; i < 2; i++) {
        const uint16_t bits = static_cast<uint16_t>(warp.lanes[lane].products[index].a[part] >> 16 * i);
        a[lane / 4 + part % 2 * 8][lane % 4 * 2 + i + part / 2 * 8] = number(first.factor, &bits);
      }
    }
  }
  for (unsigned lane = 0; lane < 32; lane++) {
    std::vector<float>& d = warp.lanes[lane].held[warp.lanes[lane].products[index].d];
    for (unsigned i = 0; i < d.size(); i++) {
      const unsigned row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      float sum = first.add ? d[i] : 0;
      for (unsigned k = 0; k < DEPTH; k++) sum += a[row][k] * b[k][column];
      d[i] = sum;
    }
  }
}

bool over(const Thread& thread, size_t index, unsigned pending) {
  return thread.products[index].group + pending < thread.product_groups;
}

void finish_products(Warp& warp, unsigned) {
  const unsigned pending = static_cast<unsigned>(warp.lanes[0].exchange.source);
  size_t done = 0;
  while (done < warp.lanes[0].products.size() && over(warp.lanes[0], done, pending)) multiply(warp, done++);
  for (unsigned lane = 0; lane < 32; lane++) {
    Thread& thread = warp.lanes[lane];
    thread.products.erase(thread.products.begin(), thread.products.begin() + static_cast<long>(done));
    for (auto at = thread.held.begin(); at != thread.held.end();) {
      const auto waits = [&](const PendingProduct& product) { return product.d == at->first; };
      if (std::any_of(thread.products.begin(), thread.products.end(), waits)) {
        at++;
      } else {
        memcpy(at->first, at->second.data(), at->second.size() * sizeof(float));
        at = thread.held.erase(at);
      }
    }
  }
}

// Checked mode looks at what a warp reads for a product, each lane at its share, in pieces of 16 bytes.
void touch_factors(const PendingProduct& product) {
#ifdef RINGLEADER_CHECKED
  const Thread& self = *current();
  const auto look = [&](uint32_t at) { touch(dynamic() + at, 16, Access::unit_read, product.site); };
  const Place a(product.a_place), b(product.b_place);
  if (product.transposed_a) {
    look(a.across_k(warp_row(self) + lane() / 16 * 8, lane() % 16));
  } else if (!product.from_registers) {
    look(a.along_k(warp_row(self) + lane() / 2, lane() % 2 * 8));
  }
  for (unsigned piece = lane(); piece < 2 * product.columns; piece += 32) {
    look(product.transposed_b ? b.across_k(piece / 16 * 8, piece % 16) : b.along_k(piece / 2, piece % 2 * 8));
  }
#else
  static_cast<void>(product);
#endif
}

}  // namespace

void wgmma(const WarpgroupProduct& given, Site site) {
  Thread* self = current();
  if (self->block->threads.size() % 128 != 0) fail("divergent warp", site, "wgmma in a block of no whole warpgroups");
  PendingProduct product{given.d, given.columns, given.a != nullptr, {}, given.a_place, given.b_place,
                         given.transposed_a, given.transposed_b, given.add, given.factor, self->product_groups, site};
  if (given.a != nullptr) memcpy(product.a, given.a, sizeof product.a);
  touch_factors(product);
  const size_t size = given.columns / 2;
  const auto [held, fresh] = self->held.try_emplace(given.d);
  if (fresh) held->second.assign(given.d, given.d + size);
  if (launch().scrambled) memset(given.d, 0xff, size * sizeof(float));
  self->products.push_back(product);
}

void wgmma_commit() { current()->product_groups++; }

void wgmma_wait(unsigned pending, Site site) {
  Thread* self = current();
  if (self->warp->live != ~0u) fail("divergent warp", site, "wgmma_wait in a warp of which lanes have ended");
  for (size_t i = 0; i < self->products.size() && over(*self, i, pending); i++) touch_factors(self->products[i]);
  exchange().source = static_cast<int>(pending);
  meet(~0u, finish_products, "wgmma_wait", site);
}

}  // namespace emulate
