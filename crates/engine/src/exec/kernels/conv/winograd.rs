//! 3×3 convolutions of stride 1 by Winograd's F(2×2, 3×3): a tile of 2×2 outputs takes 16 products per
//! pair of channels instead of 36.
//!
//! `y = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ x B)] A` for the 4×4 pixels `x` under a tile, where ⊙ is a matrix product over
//! the channels at each of the 16 positions. The transforms only add, subtract and halve. The adjoint in
//! the kernel takes the same route backwards, `Gᵀ [Σ (Bᵀ x B) ⊙ (A g Aᵀ)] G`, and leaves the last step to
//! the end of the sum.
//!
//! Errors stay those of single precision: on 64 channels of random numbers, the outputs and both gradients
//! differ from direct products in double precision by 2.0 to 2.8·10⁻⁷ of their norm.
//!
//! Tiles that stick out of the map are computed whole and cut. A pixel that is not a number reaches every
//! output it belongs to, and its neighbours in the tile.

use super::super::super::elem::Elem;
use super::super::Isa;
use super::super::micro::{Gather, MOST_LANES, MR, Outer, Place, gather, outer};
use super::correlate::Correlation;
use super::frame::{Frame, SLACK, carve};
pub(super) use super::transforms::weight_grad_finish;
use super::transforms::{lay_out, read, read_cotangent, transform, write};
use crate::graph::Window;

/// Products per tile and pair of channels.
pub(super) const POSITIONS: usize = 16;
/// Tiles worked on at a time: transformed, they fit the second-level cache beside the kernel.
const TILES: usize = 48;
/// With fewer channels the transforms outweigh the products saved.
const CHANNELS: usize = 16;
/// On smaller maps too much of the tiles sticks out.
const SMALLEST: usize = 4;

/// Elements from one position to the next, for so many at each: an odd number of cache lines, or the
/// sixteen streams of a transform would share one set of the first-level cache, which has fewer ways.
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

/// Whether a convolution over this window, with these outputs and at least `few` channels on either side,
/// is better done this way.
pub(super) fn suits(window: &Window, out: [usize; 2], few: usize) -> bool {
    let fits = window.size == [3; 2] && window.stride == [1; 2];
    fits && few >= CHANNELS && out[0].min(out[1]) >= SMALLEST
}

/// Tiles along both axes, and the blocks of tiles worked on at a time.
pub(super) struct Tiling {
    tiles: [usize; 2],
    pub(super) frame: Frame,
    /// Images whose frames are held together.
    group: usize,
}

impl Tiling {
    fn new(job: &Correlation) -> Tiling {
        let tiles = job.out.map(|extent| extent.div_ceil(2));
        let channels = job.depth.next_multiple_of(MOST_LANES);
        let frame = Frame { size: tiles.map(|n| 2 * n + 2), channels, ..job.frame() };
        let group = (2 * TILES).div_ceil(tiles[0] * tiles[1]).min(job.n);
        Tiling { tiles, frame, group }
    }

    fn per_image(&self) -> usize {
        self.tiles[0] * self.tiles[1]
    }

    /// Elements of the source and of the output for one group of images.
    fn groups(&self, job: &Correlation) -> (usize, usize) {
        let area = |[h, w]: [usize; 2]| self.group * h * w;
        (area(job.source) * job.depth, area(job.out) * job.columns)
    }

    /// Copies the images of a group into frames; their tiles, some at a time.
    fn each<'a, T: Elem>(
        &'a self,
        job: &'a Correlation,
        images: &[T],
        frames: &mut [T],
    ) -> impl Iterator<Item = Tiles<'a>> + use<'a, T> {
        let images = images.chunks_exact(job.source[0] * job.source[1] * job.depth);
        let all = images.len() * self.per_image();
        for (image, to) in images.zip(frames.chunks_exact_mut(self.frame.len())) {
            self.frame.copy(image, job.source, job.depth, to);
        }
        // Shared out evenly, in whole blocks of rows.
        let n = all.div_ceil(all.div_ceil(TILES)).next_multiple_of(MR).min(TILES);
        (0..all).step_by(n).map(move |first| Tiles {
            job,
            tiling: self,
            first,
            n: n.min(all - first),
        })
    }

    /// Image, row and column of a tile.
    pub(super) fn place(&self, tile: usize) -> [usize; 3] {
        let (image, tile) = (tile / self.per_image(), tile % self.per_image());
        [image, tile / self.tiles[1], tile % self.tiles[1]]
    }
}

/// Elements of scratch for an output, or for a sum over one: frames, and transformed tiles of both sides.
pub(super) fn scratch(job: &Correlation) -> usize {
    let tiling = Tiling::new(job);
    let columns = job.columns.next_multiple_of(MOST_LANES);
    let tiles = POSITIONS * (plane(TILES * tiling.frame.channels) + plane(TILES * columns));
    tiling.group * tiling.frame.len() + tiles + MR + 4 * columns + 4 * SLACK
}

/// Lays out the transformed kernel.
pub(super) fn pack<T: Elem>(isa: Isa, job: &Correlation, w: &[T], packed: &mut [T]) {
    lay_out(isa, job, w, packed);
    let len = job.depth * job.columns.next_multiple_of(MOST_LANES);
    transform(isa, packed, plane(len), len);
}

/// Some tiles that are worked on together.
pub(super) struct Tiles<'a> {
    pub(super) job: &'a Correlation,
    pub(super) tiling: &'a Tiling,
    pub(super) first: usize,
    pub(super) n: usize,
}

impl Tiles<'_> {
    /// Width of the output's side.
    pub(super) fn width(&self) -> usize {
        self.job.columns.next_multiple_of(MOST_LANES)
    }

    /// Elements from one position to the next, of the source's side and of the output's.
    pub(super) fn planes(&self) -> [usize; 2] {
        [plane(self.n * self.tiling.frame.channels), plane(self.n * self.width())]
    }

    /// Where the tiles lie in a transformed source.
    fn places(&self) -> [Place; TILES] {
        std::array::from_fn(|t| Place {
            source: t * self.tiling.frame.channels,
            out: t * self.width(),
        })
    }

    /// The pixels of a tile that lie on the map: their numbers in the tile, and where the output has them.
    #[inline(always)]
    pub(super) fn pixels(&self, tile: usize) -> impl Iterator<Item = (usize, usize)> {
        let ([image, y, x], [h, w]) = (self.tiling.place(self.first + tile), self.job.out);
        let (corner, columns) = ((image * h + 2 * y) * w + 2 * x, self.job.columns);
        let (rows, right) = ((h - 2 * y).min(2), (w - 2 * x).min(2));
        let all = [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter();
        all.filter(move |&(a, b)| a < rows && b < right)
            .map(move |(a, b)| (2 * a + b, (corner + a * w + b) * columns))
    }
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
    let tiling = Tiling::new(job);
    let width = job.columns.next_multiple_of(MOST_LANES);
    let step = plane(job.depth * width);
    let (frames, rest) = carve(scratch, tiling.group * tiling.frame.len());
    let (spread, rest) = carve(rest, POSITIONS * plane(TILES * tiling.frame.channels));
    let (products, rest) = carve(rest, POSITIONS * plane(TILES * width));
    let (quad, _) = carve(rest, 4 * width);
    let (images, maps) = tiling.groups(job);
    for (images, maps) in source.chunks(images).zip(out.chunks_mut(maps)) {
        for tiles in tiling.each(job, images, frames) {
            read(isa, &tiles, frames, spread);
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
            write(isa, &tiles, products, maps, quad);
        }
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
    let tiling = Tiling::new(job);
    let width = job.columns.next_multiple_of(MOST_LANES);
    let step = plane(job.depth * job.columns);
    let (frames, rest) = carve(scratch, tiling.group * tiling.frame.len());
    let (spread, rest) = carve(rest, POSITIONS * plane(TILES * tiling.frame.channels) + MR);
    let (spread_g, rest) = carve(rest, POSITIONS * plane(TILES * width));
    let (quad, _) = carve(rest, 4 * width);
    let (images, maps) = tiling.groups(job);
    for (images, maps) in x.chunks(images).zip(g.chunks(maps)) {
        for tiles in tiling.each(job, images, frames) {
            read(isa, &tiles, frames, spread);
            read_cotangent(isa, &tiles, maps, spread_g, quad);
            let places = tiles.places();
            let [from, to] = tiles.planes();
            let product = Outer { rows: job.depth, columns: job.columns, step: width };
            for (p, sum) in sum.chunks_exact_mut(step).take(POSITIONS).enumerate() {
                let (source, panel) = (&spread[p * from..], &spread_g[p * to..]);
                outer(isa, &product, source, &places[..tiles.n], panel, sum);
            }
        }
    }
}
