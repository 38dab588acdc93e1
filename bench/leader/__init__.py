"""What ``python -m ringleader.bench.leader`` measures: the parameter server beside AllReduce, in the same processes."""
