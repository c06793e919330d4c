//! The convolution family. Images are `[n, h, w, c]`, so the channels of a pixel lie together, and every
//! member is a set of matrix products over channels.
//!
//! - Images are copied into frames with a border of zeros, a few at a time; the taps of one kernel row
//!   are then one contiguous run of the frame, whatever the padding ([`correlate`]).
//! - 3×3 convolutions of many channels in single precision use Winograd's algorithm ([`winograd`]). In double
//!   precision, which exists for verification, products are always direct.
//! - Images of few channels are split into planes ([`planar`]).
//!
//! Each product has separate phases, so that a caller who works through a batch a few images at a time lays out the
//! kernel once and sums the weight gradient over all images. The layout of the kernel and the choice of algorithm never
//! depend on the number of images. What is kept between calls must stay in place: it is aligned inside the memory
//! given.

mod correlate;
mod frame;
mod planar;
mod points;
mod transforms;
mod weight_grad;
mod winograd;

use super::super::elem::Elem;
use super::Isa;
use crate::graph::Window;
use correlate::{Correlation, correlate, correlate_pack};
use weight_grad::spread_columns;
pub(in super::super) use weight_grad::{conv_weight_grad_add, conv_weight_grad_finish};

/// Extents of a convolution `[n, h, w, c] * [kh, kw, c, o] -> [n, oh, ow, o]`.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct ConvSizes {
    n: usize,
    input: [usize; 2],
    output: [usize; 2],
    c: usize,
    o: usize,
    window: Window,
}

/// Members of the family, by what is kept between the calls for parts of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum ConvRole {
    /// The packed kernel of [`conv`].
    Forward,
    /// The packed kernel of [`conv_input_grad`].
    InputGrad,
    /// The sum of [`conv_weight_grad_add`].
    WeightGrad,
}

impl ConvSizes {
    /// From the shapes of the image and of the output.
    pub(in super::super) fn new(x: &[usize], y: &[usize], window: Window) -> ConvSizes {
        ConvSizes { n: x[0], input: [x[1], x[2]], output: [y[1], y[2]], c: x[3], o: y[3], window }
    }

    /// Elements kept between calls, enough for every instruction set and element type; independent of the
    /// number of images.
    pub(in super::super) fn packed_len(&self, role: ConvRole) -> usize {
        match role {
            ConvRole::Forward => self.forward().packed_len(),
            ConvRole::InputGrad => self.adjoint().packed_len(),
            ConvRole::WeightGrad => {
                let (direct, job) = (self.taps() * self.c * self.o, self.forward());
                let winograd = if job.winograd::<f32>() { winograd::sum_len(&job) } else { 0 };
                direct.max(winograd) + frame::SLACK
            }
        }
    }

    /// Elements of scratch any member of the family needs for this many images.
    pub(in super::super) fn scratch(&self) -> usize {
        let planar = if planar::suits(self) { planar::scratch(self) } else { 0 };
        let products = self.forward().scratch() + self.spread_len() + frame::SLACK;
        products.max(self.adjoint().scratch()).max(planar)
    }

    fn taps(&self) -> usize {
        self.window.size[0] * self.window.size[1]
    }

    fn forward(&self) -> Correlation {
        Correlation {
            n: self.n,
            source: self.input,
            out: self.output,
            depth: self.c,
            columns: self.o,
            window: self.window,
            adjoint: false,
        }
    }

    fn adjoint(&self) -> Correlation {
        Correlation {
            source: self.output,
            out: self.input,
            depth: self.o,
            columns: self.c,
            adjoint: true,
            ..self.forward()
        }
    }
}

/// Lays out the kernel for [`conv`].
pub(in super::super) fn conv_pack<T: Elem>(isa: Isa, sizes: &ConvSizes, w: &[T], packed: &mut [T]) {
    correlate_pack(isa, &sizes.forward(), w, packed);
}

/// `y = conv(x, w)`, for the kernel laid out by [`conv_pack`].
pub(in super::super) fn conv<T: Elem>(
    isa: Isa,
    sizes: &ConvSizes,
    x: &[T],
    packed: &[T],
    y: &mut [T],
    scratch: &mut [T],
) {
    if planar::suits(sizes) {
        planar::run(isa, sizes, x, packed, y, scratch);
    } else {
        correlate(isa, &sizes.forward(), x, packed, y, scratch);
    }
}

/// Lays out the kernel for [`conv_input_grad`].
pub(in super::super) fn conv_input_grad_pack<T: Elem>(
    isa: Isa,
    sizes: &ConvSizes,
    w: &[T],
    packed: &mut [T],
) {
    correlate_pack(isa, &sizes.adjoint(), w, packed);
}

/// `gx`: the adjoint of [`conv`] in the image, applied to `g`, for the kernel laid out by
/// [`conv_input_grad_pack`].
pub(in super::super) fn conv_input_grad<T: Elem>(
    isa: Isa,
    sizes: &ConvSizes,
    g: &[T],
    packed: &[T],
    gx: &mut [T],
    scratch: &mut [T],
) {
    correlate(isa, &sizes.adjoint(), g, packed, gx, scratch);
}

/// Starts the sum of [`conv_weight_grad_add`].
pub(in super::super) fn conv_weight_grad_start<T: Elem>(
    _isa: Isa,
    sizes: &ConvSizes,
    sum: &mut [T],
) {
    sum[..sizes.packed_len(ConvRole::WeightGrad)].fill(T::ZERO);
}
