//! Episodes as one picture, for a look at them before training.

use crate::{Episode, Error, ErrorKind, Split, Target, TaskFamily, episode_key};

/// Grey of the background and of the separators.
const PAPER: u8 = 255;
const LINE: u8 = 170;
/// Small images are enlarged to at least this side.
const READABLE: usize = 56;

/// A picture, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactSheet {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values of a pixel: 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `[height, width, channels]`.
    pub pixels: Vec<u8>,
}

/// The first tasks of a split, one below the other. Each row is a class, with its support left and its queries right of
/// the line. Grey images are shown dark on light, so that ink looks like ink. Fails for a family whose examples are not
/// images of classes; panics if `tasks` is zero.
#[track_caller]
pub fn contact_sheet(
    family: &dyn TaskFamily,
    split: Split,
    seed: u64,
    tasks: usize,
) -> Result<ContactSheet, Error> {
    assert!(tasks > 0, "a contact sheet of no tasks");
    family.check(split)?;
    let spec = family.spec(split);
    let (&[h, w, c @ (1 | 3)], Target::Classes(ways)) = (spec.x.as_slice(), spec.target) else {
        let message = format!(
            "{} has examples of shape {:?}: a contact sheet needs a classification family with \
             [h, w, 1] or [h, w, 3] images",
            family.name(),
            spec.x
        );
        return Err(Error::new(ErrorKind::Shape, message));
    };
    let (shots, query) = (spec.support / ways, spec.query / ways);
    if [spec.support, spec.query] != [shots * ways, query * ways] || shots * query == 0 {
        let message = format!(
            "the {split} split of {} is drawn in minibatches of {ways} classes together: a contact sheet needs tasks, \
             as other splits have",
            family.name()
        );
        return Err(Error::new(ErrorKind::Shape, message));
    }
    let zoom = READABLE.div_ceil(h);
    let (cell_h, cell_w) = (h * zoom + 2, w * zoom + 2);
    let rule = 3;
    let (width, block) = ((shots + query) * cell_w + rule, ways * cell_h + rule);
    let mut sheet = ContactSheet::blank(width, tasks * block, c);

    let mut episode = Episode::zeros(&spec);
    for task in 0..tasks {
        family.sample_into(split, episode_key(seed, split, 0, task as u64), &mut episode);
        let top = task * block;
        let sets =
            [(&episode.support_x, shots, 0), (&episode.query_x, query, shots * cell_w + rule)];
        for (x, per_class, left) in sets {
            for (at, image) in x.as_f32().chunks_exact(h * w * c).enumerate() {
                let (class, sample) = (at / per_class, at % per_class);
                let corner = [top + class * cell_h + 1, left + sample * cell_w + 1];
                sheet.paste(image, w, corner, zoom);
            }
        }
        sheet.fill([top, shots * cell_w + 1], [ways * cell_h, 1]);
        sheet.fill([top + ways * cell_h + 1, 0], [1, width]);
    }
    Ok(sheet)
}

impl ContactSheet {
    /// The picture as a PNG file's bytes.
    pub fn png(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width as u32, self.height as u32);
        encoder.set_color(if self.channels == 1 {
            png::ColorType::Grayscale
        } else {
            png::ColorType::Rgb
        });
        let mut writer = encoder.write_header().expect("a vector takes every byte");
        writer.write_image_data(&self.pixels).expect("the picture has the size just declared");
        writer.finish().expect("a vector takes every byte");
        bytes
    }

    fn blank(width: usize, height: usize, channels: usize) -> ContactSheet {
        ContactSheet { width, height, channels, pixels: vec![PAPER; width * height * channels] }
    }

    /// Overwrites the rectangle with the line colour; corner and extents are rows, then columns.
    fn fill(&mut self, [top, left]: [usize; 2], [height, width]: [usize; 2]) {
        for i in top..top + height {
            let start = (i * self.width + left) * self.channels;
            self.pixels[start..start + width * self.channels].fill(LINE);
        }
    }

    fn paste(&mut self, image: &[f32], w: usize, [top, left]: [usize; 2], zoom: usize) {
        let c = self.channels;
        let rows = image.len() / (w * c) * zoom;
        for (i, j) in (0..rows).flat_map(|i| (0..w * zoom).map(move |j| (i, j))) {
            let from = (i / zoom * w + j / zoom) * c;
            let to = ((top + i) * self.width + left + j) * c;
            for (pixel, &value) in self.pixels[to..to + c].iter_mut().zip(&image[from..from + c]) {
                let shown = if c == 1 { 1.0 - value } else { value };
                *pixel = (shown * 255.0).round() as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests;
