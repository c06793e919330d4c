//! 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3): a tile of 4×4 outputs takes 36 products per pair
//! of channels instead of 144 (Lavin, Gray 2015, arXiv 1509.09308).
//!
//! `y = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ x B)] A` for the 6×6 pixels `x` under a tile, where ⊙ is a matrix product over
//! the channels at each of the 36 positions. The adjoint in the kernel takes the same route backwards,
//! `Gᵀ [Σ (Bᵀ x B) ⊙ (A g Aᵀ)] G`, and leaves the last step to the end of the sum.
//!
//! Errors depend on the points at which the polynomials behind the transforms are taken. At 0, ±5/8, ±3/2
//! and ∞ they are half of those at the usual 0, ±1, ±2 and ∞: on 32 or 64 channels of random numbers, the
//! outputs and both gradients differ from direct products in double precision by 4 to 8·10⁻⁷ of their norm.
//!
//! Tiles are transformed in runs of six neighbours and multiplied 36 at a time, six rows of a block each, so that they
//! stay in the second-level cache beside the kernel. Floor: `36 · c · o` multiply-adds per tile, a quarter of the
//! direct product's; and the transforms, which write 36 numbers for 16 pixels of every channel, and read as many for
//! every output channel.
//!
//! Tiles that stick out of the map are computed whole and cut. A NaN pixel reaches every output it belongs to, and that
//! output's neighbours in the tile.

use super::super::super::elem::Elem;
use super::super::Isa;
use super::super::micro::{Gather, MOST_LANES, MR, Outer, Place, gather, outer};
use super::correlate::Correlation;
use super::frame::{Frame, SLACK, carve};
pub(super) use super::transforms::weight_grad_finish;
use super::transforms::{lay_out, read, read_cotangent, transform, write};
use crate::graph::Window;

/// Output pixels along a side of a tile, and points of the transforms: source pixels along it.
pub(super) const SIDE: usize = 4;
pub(super) const POINTS: usize = SIDE + 2;
/// Products per tile and pair of channels.
pub(super) const POSITIONS: usize = POINTS * POINTS;
/// Tiles worked on at a time: transformed, they fit the second-level cache beside the kernel.
const TILES: usize = 36;
/// Neighbours among them that are transformed together: their pixels fit the first-level cache.
const RUN: usize = 6;
/// With fewer channels the transforms outweigh the products saved.
const CHANNELS: usize = 16;
/// On smaller maps too much of the tiles sticks out.
const SMALLEST: usize = 3;

/// Elements from one position to the next, for `len` elements at each: an odd number of cache lines, or the streams of
/// a transform would share one set of the first-level cache, which has fewer ways.
pub(super) fn plane(len: usize) -> usize {
    (len.div_ceil(MOST_LANES) | 1) * MOST_LANES
}

/// Elements of the transformed kernel.
pub(super) fn packed_len(job: &Correlation) -> usize {
    POSITIONS * plane(job.depth * job.columns.next_multiple_of(MOST_LANES))
}

/// Elements of the sum of transformed products.
pub(super) fn sum_len(job: &Correlation) -> usize {
    POSITIONS * plane(job.depth * job.columns)
}

/// Whether Winograd's algorithm is the better choice for a convolution over this window, with these outputs and at
/// least `few` channels on either side.
pub(super) fn suits(window: &Window, out: [usize; 2], few: usize) -> bool {
    let fits = window.size == [3; 2] && window.stride == [1; 2];
    fits && few >= CHANNELS && out[0].min(out[1]) >= SMALLEST
}

/// Elements of scratch for an output, or for a sum over one.
pub(super) fn scratch(job: &Correlation) -> usize {
    let Buffers { source, out, pixels, half } = Buffers::of(job);
    source + out + pixels + half + 4 * SLACK
}

/// Sizes, in elements, of the buffers that tiles are worked on in.
struct Buffers {
    /// Transformed tiles of both sides.
    source: usize,
    out: usize,
    /// The pixels of a run of tiles, and the same transformed along one axis.
    pixels: usize,
    half: usize,
}

impl Buffers {
    fn of(job: &Correlation) -> Buffers {
        let [depth, columns] =
            [job.depth, job.columns].map(|channels| channels.next_multiple_of(MOST_LANES));
        let under = POINTS * (RUN * SIDE + 2) * depth;
        Buffers {
            source: POSITIONS * plane(TILES * depth) + MR,
            out: POSITIONS * plane(TILES * columns),
            pixels: under.max(SIDE * SIDE * RUN * columns),
            half: under.max(POINTS * SIDE * RUN * columns),
        }
    }
}

/// Lays out the transformed kernel.
pub(super) fn pack<T: Elem>(isa: Isa, job: &Correlation, w: &[T], packed: &mut [T]) {
    lay_out(isa, job, w, packed);
    let len = job.depth * job.columns.next_multiple_of(MOST_LANES);
    transform(isa, packed, plane(len), len);
}

/// Some tiles, of all images, that are worked on together.
pub(super) struct Tiles<'a> {
    pub(super) job: &'a Correlation,
    /// Tiles along both axes of an image.
    across: [usize; 2],
    /// Source pixel under the first output pixel.
    start: [isize; 2],
    first: usize,
    pub(super) n: usize,
}

impl<'a> Tiles<'a> {
    /// All tiles in parts, shared out evenly in whole blocks of rows.
    fn parts(job: &'a Correlation) -> impl Iterator<Item = Tiles<'a>> {
        let (across, start) = (job.out.map(|extent| extent.div_ceil(SIDE)), job.frame().start);
        let all = job.n * across[0] * across[1];
        let n = all.div_ceil(all.div_ceil(TILES)).next_multiple_of(MR).min(TILES);
        let part = move |first| Tiles { job, across, start, first, n: n.min(all - first) };
        (0..all).step_by(n).map(part)
    }

    /// Channels of the source and of the output, rounded up to whole registers.
    pub(super) fn channels(&self) -> [usize; 2] {
        [self.job.depth, self.job.columns].map(|channels| channels.next_multiple_of(MOST_LANES))
    }

    /// Elements from one position to the next, of the source's side and of the output's.
    pub(super) fn planes(&self) -> [usize; 2] {
        self.channels().map(|channels| plane(self.n * channels))
    }

    /// Where the tiles lie in a transformed source and in the products.
    fn places(&self) -> [Place; TILES] {
        let [source, out] = self.channels();
        std::array::from_fn(|t| Place { source: t * source, out: t * out })
    }

    /// The tiles in runs of neighbours.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> {
        let ([rows, columns], first, n) = (self.across, self.first, self.n);
        let mut next = 0;
        std::iter::from_fn(move || {
            let (tile, column) = (next, (first + next) % columns);
            let row = (first + next) / columns;
            let n = (columns - column).min(n - next).min(RUN);
            next += n;
            let at = [row / rows, row % rows * SIDE, column * SIDE];
            (n > 0).then_some(Run { tile, n, at })
        })
    }

    /// The source pixels under a run: [`POINTS`] rows of pixels in whole registers, and elements from one
    /// row to the next. They are read in place where all lie on the image, or else from a copy.
    pub(super) fn under<'s, T: Elem>(
        &self,
        run: &Run,
        source: &'s [T],
        copy: &'s mut [T],
    ) -> (&'s [T], usize) {
        let [image, y, x] = run.at;
        let start = [y as isize + self.start[0], x as isize + self.start[1]];
        let frame = Frame { start, size: [POINTS, SIDE * run.n + 2], channels: self.channels()[0] };
        let Correlation { source: extents, depth, .. } = *self.job;
        let len = extents[0] * extents[1] * depth;
        frame.view(&source[image * len..][..len], extents, depth, copy)
    }

    /// The output pixels of a run, [`SIDE`] rows, in the same way.
    pub(super) fn over<'s, T: Elem>(
        &self,
        run: &Run,
        out: &'s [T],
        copy: &'s mut [T],
    ) -> (&'s [T], usize) {
        let [image, y, x] = run.at;
        let start = [y as isize, x as isize];
        let frame = Frame { start, size: [SIDE, SIDE * run.n], channels: self.channels()[1] };
        let Correlation { out: extents, columns, .. } = *self.job;
        let len = extents[0] * extents[1] * columns;
        frame.view(&out[image * len..][..len], extents, columns, copy)
    }
}

/// Tiles side by side in a row of one image.
pub(super) struct Run {
    /// Number of the first among those worked on.
    pub(super) tile: usize,
    pub(super) n: usize,
    /// Image, and row and column of the first output pixel.
    pub(super) at: [usize; 3],
}

/// The correlation.
pub(super) fn run<T: Elem>(
    isa: Isa,
    job: &Correlation,
    source: &[T],
    packed: &[T],
    out: &mut [T],
    scratch: &mut [T],
) {
    let buffers = Buffers::of(job);
    let step = plane(job.depth * job.columns.next_multiple_of(MOST_LANES));
    let (spread, rest) = carve(scratch, buffers.source);
    let (products, rest) = carve(rest, buffers.out);
    let (pixels, rest) = carve(rest, buffers.pixels);
    let (half, _) = carve(rest, buffers.half);
    for tiles in Tiles::parts(job) {
        read(isa, &tiles, source, spread, pixels, half);
        let places = tiles.places();
        let [from, to] = tiles.planes();
        for (p, products) in products.chunks_exact_mut(to).take(POSITIONS).enumerate() {
            let product = Gather {
                source: &spread[p * from..],
                runs: 1,
                run_step: 0,
                run: job.depth,
                packed: &packed[p * step..][..step],
                columns: job.columns,
            };
            gather(isa, &product, &places[..tiles.n], products);
        }
        write(isa, &tiles, products, out, pixels, half);
    }
}

/// Adds to `sum`, `[position, channel, column]`, the products of transformed images and cotangents.
pub(super) fn weight_grad_add<T: Elem>(
    isa: Isa,
    job: &Correlation,
    x: &[T],
    g: &[T],
    sum: &mut [T],
    scratch: &mut [T],
) {
    let buffers = Buffers::of(job);
    let step = plane(job.depth * job.columns);
    let (spread, rest) = carve(scratch, buffers.source);
    let (spread_g, rest) = carve(rest, buffers.out);
    let (pixels, rest) = carve(rest, buffers.pixels);
    let (half, _) = carve(rest, buffers.half);
    for tiles in Tiles::parts(job) {
        read(isa, &tiles, x, spread, pixels, half);
        read_cotangent(isa, &tiles, g, spread_g, pixels, half);
        let places = tiles.places();
        let ([from, to], [_, width]) = (tiles.planes(), tiles.channels());
        let product = Outer { rows: job.depth, columns: job.columns, step: width };
        for (p, sum) in sum.chunks_exact_mut(step).take(POSITIONS).enumerate() {
            let (source, panel) = (&spread[p * from..], &spread_g[p * to..]);
            outer(isa, &product, source, &places[..tiles.n], panel, sum);
        }
    }
}
