#include <string.h>

#include "conversions.h"
#include "scheduler.h"
#include "tensor.h"

namespace emulate {

// --- cp.async: nothing is copied before the wait, so that a missing one shows ----------------------------------------

void cp_async(void* shared, const void* global, unsigned bytes, bool wanted, Site site) {
  const size_t to = reinterpret_cast<size_t>(shared), from = reinterpret_cast<size_t>(global);
  if (to % bytes != 0 || (wanted && from % bytes != 0)) {
    fail("misaligned", site, "cp_async<%u> %s an address that is not a multiple of %u", bytes,
         to % bytes != 0 ? "to" : "from", bytes);
  }
  Thread* self = current();
  const Copy copy{shared, global, bytes, wanted, self->groups, site};
  self->copies.push_back(copy);
  if (launch().scrambled) memset(shared, 0xff, bytes);
  copy_issued(copy);
}

void cp_async_commit() { current()->groups++; }

void cp_async_wait(unsigned pending) {
  Thread* self = current();
  size_t done = 0;
  for (; done < self->copies.size(); done++) {
    const Copy& copy = self->copies[done];
    if (copy.group + pending >= self->groups) break;
    if (copy.wanted) {
      memcpy(copy.to, copy.from, copy.bytes);
    } else {
      memset(copy.to, 0, copy.bytes);
    }
    copy_done(copy);
  }
  self->copies.erase(self->copies.begin(), self->copies.begin() + static_cast<long>(done));
}

// --- ldmatrix --------------------------------------------------------------------------------------------------------

namespace {

// Lane l gets row l / 4, columns 2 (l % 4), +1 of each matrix of 8 x 8; lane 8 m + i sent the address of row i of m.
template <int matrices, bool transposed>
void deliver_matrices(Warp& warp, unsigned) {
  const uint16_t* rows[32];
  for (int lane = 0; lane < 32; lane++) memcpy(&rows[lane], warp.lanes[lane].exchange.bits, sizeof rows[lane]);
  for (int lane = 0; lane < 32; lane++) {
    uint16_t pairs[matrices][2];
    for (int m = 0; m < matrices; m++) {
      for (int i = 0; i < 2; i++) {
        const int group = lane / 4, place = lane % 4 * 2 + i;
        pairs[m][i] = transposed ? rows[8 * m + place][group] : rows[8 * m + group][place];
      }
    }
    memcpy(warp.lanes[lane].exchange.bits, pairs, sizeof pairs);
  }
}

void whole_warp(const char* name, Site site) {
  if (current()->warp->live != ~0u) fail("divergent warp", site, "%s in a warp of which lanes have ended", name);
}

}  // namespace

void ldmatrix(uint32_t* r, const void* row, int matrices, bool transposed, const char* name, Site site) {
  whole_warp(name, site);
  if (lane() < static_cast<unsigned>(8 * matrices)) {
    if (reinterpret_cast<size_t>(row) % 16 != 0) fail("misaligned", site, "%s of a row not aligned to 16 bytes", name);
    touch(row, 16, Access::read, site);
  }
  memcpy(exchange().bits, &row, sizeof row);
  const Deliver deliver = matrices == 4 ? (transposed ? deliver_matrices<4, true> : deliver_matrices<4, false>)
                                        : (transposed ? deliver_matrices<2, true> : deliver_matrices<2, false>);
  meet(~0u, deliver, name, site);
  memcpy(r, exchange().bits, static_cast<size_t>(matrices) * sizeof *r);
}

// --- mma -------------------------------------------------------------------------------------------------------------

namespace {

struct Fragments {
  uint32_t a[4], b[2];
  float d[4];
};
static_assert(sizeof(Fragments) <= sizeof(Exchange::bits), "it must fit the exchange");

template <Factor factor>
float unpack(uint32_t bits, int i) {  // number i of a register
  const uint16_t half = static_cast<uint16_t>(bits >> 16 * i);
  if (factor == Factor::half) return half_to_float(half);
  if (factor == Factor::bfloat16) return bfloat16_to_float(half);
  return bit_cast<float>(bits);
}

// The whole product, then each lane its part. Products are summed over k in order, in float.
template <Factor factor>
void deliver_product(Warp& warp, unsigned) {
  constexpr int in_register = factor == Factor::tf32 ? 1 : 2, depth = 8 * in_register;
  float a[16][depth], b[depth][8], d[16][8];
  for (int lane = 0; lane < 32; lane++) {
    Fragments mine;
    memcpy(&mine, warp.lanes[lane].exchange.bits, sizeof mine);
    const int group = lane / 4, pair = lane % 4;
    for (int i = 0; i < in_register; i++) {
      const int k = pair * in_register + i;
      for (int part = 0; part < 4; part++) {
        a[group + part % 2 * 8][k + part / 2 * depth / 2] = unpack<factor>(mine.a[part], i);
      }
      for (int part = 0; part < 2; part++) b[k + part * depth / 2][group] = unpack<factor>(mine.b[part], i);
    }
    for (int i = 0; i < 4; i++) d[group + i / 2 * 8][pair * 2 + i % 2] = mine.d[i];
  }
  for (int row = 0; row < 16; row++) {
    for (int k = 0; k < depth; k++) {
      for (int column = 0; column < 8; column++) d[row][column] += a[row][k] * b[k][column];
    }
  }
  for (int lane = 0; lane < 32; lane++) {
    float mine[4];
    for (int i = 0; i < 4; i++) mine[i] = d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
    memcpy(warp.lanes[lane].exchange.bits, mine, sizeof mine);
  }
}

}  // namespace

void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Factor factor, const char* name, Site site) {
  whole_warp(name, site);
  Fragments mine;
  memcpy(mine.a, a, sizeof a);
  memcpy(mine.b, b, sizeof b);
  memcpy(mine.d, d, sizeof d);
  memcpy(exchange().bits, &mine, sizeof mine);
  const Deliver deliver = factor == Factor::half       ? deliver_product<Factor::half>
                          : factor == Factor::bfloat16 ? deliver_product<Factor::bfloat16>
                                                       : deliver_product<Factor::tf32>;
  meet(~0u, deliver, name, site);
  memcpy(d, exchange().bits, sizeof d);
}

}  // namespace emulate
