//! Small files that tests read.

/// A PNG image of one colour.
pub(crate) fn png([height, width, channels]: [usize; 3], colour: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    let kind = if channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb };
    encoder.set_color(kind);
    let pixels = colour.repeat(width * height);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    bytes
}
