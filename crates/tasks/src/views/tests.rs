use innerloop_engine::Dtype;

use super::*;

const WHOLE: Change =
    Change { at: [0, 0], size: [3, 4], flip: false, tint: None, blur: None, grey: false };

/// 0, 1, … 11 in three rows of four.
fn image() -> Vec<f32> {
    (0..12).map(|value| value as f32).collect()
}

fn cropped(change: Change) -> Vec<f32> {
    let mut out = vec![f32::NAN; 12];
    change.crop(&image(), &mut out, [3, 4, 1]);
    out
}

#[test]
fn crops_are_linear_between_pixels() {
    assert_eq!(cropped(WHOLE), image());
    let flipped = cropped(Change { flip: true, ..WHOLE });
    assert_eq!(flipped, [3.0, 2.0, 1.0, 0.0, 7.0, 6.0, 5.0, 4.0, 11.0, 10.0, 9.0, 8.0]);
    // One row and two columns of the second row: 5 and 6, at −¼, ¼, ¾ and 1¼ of the way from one to the other.
    let part = cropped(Change { at: [1, 1], size: [1, 2], ..WHOLE });
    let row = [5.0, 5.25, 5.75, 6.0];
    assert_eq!(part, [row, row, row].concat());
}

#[test]
fn a_blur_keeps_what_is_even_and_spreads_a_point() {
    let weights = [0.5, 0.25];
    let mut out = vec![0.0; 12];
    blur(&[0.3; 12], &mut out, weights, [3, 4, 1]);
    assert!(out.iter().all(|x| (x - 0.3).abs() < 1e-6));
    let mut point = vec![0.0; 12];
    point[5] = 1.0;
    blur(&point, &mut out, weights, [3, 4, 1]);
    // Beyond the edge, the row or column of the point is repeated.
    let row = [0.25, 0.25, 0.125, 0.0];
    assert_eq!(out, [row, row, row].concat());
}

#[test]
fn tints_are_what_they_say() {
    let tint = |brightness, contrast, saturation| Tint { brightness, contrast, saturation };
    let after = |tint: Tint| {
        let mut pixels = vec![0.2, 0.2, 0.2, 0.6, 0.6, 0.6];
        tint.apply(&mut pixels, 3);
        pixels
    };
    let close = |got: &[f32], want: &[f32]| {
        assert!(got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?} and {want:?}");
    };
    close(&after(tint(1.5, 1.0, 1.0)), &[0.3, 0.3, 0.3, 0.9, 0.9, 0.9]);
    // About the mean, 0.4.
    close(&after(tint(1.0, 0.5, 1.0)), &[0.3, 0.3, 0.3, 0.5, 0.5, 0.5]);
    let mut red = vec![1.0, 0.0, 0.0];
    tint(1.0, 1.0, 0.5).apply(&mut red, 3);
    let grey = LUMA[0];
    close(&red, &[0.5 + 0.5 * grey, 0.5 * grey, 0.5 * grey]);
    close(&after(tint(1.8, 1.0, 1.0))[3..], &[1.0, 1.0, 1.0]);
}

#[test]
fn views_differ_and_one_key_has_one_view() {
    let shape = [2, 16, 16, 3];
    let values = (0..2 * 16 * 16 * 3).map(|i| (i * 37 % 256) as f32 / 255.0).collect();
    let images = Tensor::from_f32(&shape, values);
    let view = |key: u64| {
        let mut view = Tensor::zeros(Dtype::F32, &shape);
        draw_view(&images, Key::new(key), &mut view);
        view
    };
    assert_eq!(view(1), view(1));
    assert_ne!(view(1), view(2));
    for key in 0..50 {
        assert!(view(key).iter().all(|x| (0.0..=1.0).contains(&x)), "view {key} leaves 0 to 1");
    }
}

#[test]
fn every_change_occurs() {
    let mut rng = Key::new(3).rng();
    let all: Vec<Change> = (0..2000).map(|_| Change::draw(&mut rng, [28, 28])).collect();
    let share = |of: &dyn Fn(&Change) -> bool| {
        all.iter().filter(|&change| of(change)).count() as f64 / all.len() as f64
    };
    let close = |got: f64, want: f64| assert!((got - want).abs() < 0.05, "{got} and {want}");
    close(share(&|change| change.flip), 0.5);
    close(share(&|change| change.tint.is_some()), 0.8);
    close(share(&|change| change.blur.is_some()), 0.5);
    close(share(&|change| change.grey), 0.2);
    let inside = |change: &Change| (0..2).all(|axis| change.at[axis] + change.size[axis] <= 28);
    assert!(all.iter().all(inside));
    let area = |change: &Change| change.size[0] * change.size[1];
    assert!(all.iter().map(area).min() < Some(100) && all.iter().map(area).max() > Some(650));
}
