//! Drawing episodes, and the memory of image sets: `cargo bench -p innerloop-tasks --bench episodes [-- filter]`.
//!
//! Real sets are read from the folder that `INNERLOOP_DATA` names; missing ones are skipped. `max alloc` is the peak
//! allocation of the reading thread; images in folders and archives are decoded on other threads, whose memory is not
//! counted. The artificial miniImageNet has all 60,000 images of 84x84, each of one colour: 1.18 GiB of pixels. Set
//! `INNERLOOP_CACHE=` (empty) to time decoding.

use std::fs;
use std::hint::black_box;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use innerloop_tasks::cifar::{self, CifarSplit};
use innerloop_tasks::multi_mnist::{self, MultiMnist, Places};
use innerloop_tasks::omniglot::{self, Ink, OmniglotSplit};
use innerloop_tasks::{
    Episode, Error, FewShot, ImageSet, ImageTasks, Rotations, Split, TaskFamily, episode_key,
    mini_imagenet,
};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Sets on disk.
const SETS: [&str; 3] = ["omniglot", "cifar_fs", "double_mnist"];

/// 5-way 1-shot tasks with 15 queries per class.
fn family(name: &str) -> Option<Box<dyn TaskFamily>> {
    let dir = PathBuf::from(std::env::var_os("INNERLOOP_DATA")?);
    match name {
        "omniglot" => tasks(name, omniglot::load(&dir, OmniglotSplit::Vinyals, Ink::One)),
        "cifar_fs" => tasks(name, cifar::load(&dir, CifarSplit::Fs)),
        _ => tasks(name, MultiMnist::load(&dir, Places::Two, 64, multi_mnist::SEED)),
    }
}

fn tasks<D: ImageSet + 'static>(name: &str, set: Result<D, Error>) -> Option<Box<dyn TaskFamily>> {
    let set = set.inspect_err(|error| eprintln!("{name} left out: {error}")).ok()?;
    let tasks = ImageTasks::new(name, set, FewShot::new(5, 1, 15), Rotations::None);
    Some(Box::new(tasks.expect("a few-shot set")))
}

/// An item is an episode.
#[divan::bench(args = SETS, sample_count = 20)]
fn sample_5w1s(bencher: Bencher<'_, '_>, name: &str) {
    let Some(family) = family(name) else { return };
    let mut episode = Episode::zeros(&family.spec(Split::Train));
    let mut iteration = 0;
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        iteration += 1;
        let key = episode_key(1, Split::Train, iteration, 0);
        family.sample_into(Split::Train, key, black_box(&mut episode));
    });
}

/// Start-up: reading, and decoding where needed.
#[divan::bench(args = SETS, sample_count = 5, sample_size = 1)]
fn load(bencher: Bencher<'_, '_>, name: &str) {
    if family(name).is_some() {
        bencher.bench_local(|| family(name));
    }
}

/// A whole artificial miniImageNet of 60,000 images.
#[divan::bench(args = ["images", "zip", "rows", "labels"], sample_count = 1, sample_size = 1)]
fn load_mini_imagenet(bencher: Bencher<'_, '_>, layout: &str) {
    let dir = tempfile::tempdir().unwrap();
    let place = if layout == "zip" { dir.path().join("images.zip") } else { dir.path().into() };
    match layout {
        "images" => make_images(|name, image| {
            let path = place.join(name);
            fs::create_dir_all(path.parent().expect("in a class"))?;
            fs::write(path, image)
        }),
        "zip" => make_zip(&place),
        _ => make_pickles(&place, layout == "rows"),
    }
    .unwrap();
    bencher.bench_local(|| mini_imagenet::load(&place, mini_imagenet::SIDE).unwrap());
}

const PARTS: [(&str, usize, usize); 3] = [("train", 0, 64), ("val", 64, 80), ("test", 80, 100)];
const SAMPLES: usize = 600;
const SIZE: usize = 84 * 84 * 3;

fn colour(class: usize, sample: usize) -> [u8; 3] {
    [class as u8, (sample % 256) as u8, (sample / 256) as u8]
}

fn make_images(mut put: impl FnMut(String, &[u8]) -> io::Result<()>) -> io::Result<()> {
    for (part, first, end) in PARTS {
        for class in first..end {
            for sample in 0..SAMPLES {
                let mut image = Vec::new();
                let mut encoder = png::Encoder::new(&mut image, 84, 84);
                encoder.set_color(png::ColorType::Rgb);
                let pixels = colour(class, sample).repeat(84 * 84);
                encoder.write_header()?.write_image_data(&pixels)?;
                put(format!("{part}/n{class:08}/{sample}.png"), &image)?;
            }
        }
    }
    Ok(())
}

fn make_zip(place: &Path) -> io::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::new(fs::File::create(place)?));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    make_images(|name, image| {
        zip.start_file(name, options)?;
        zip.write_all(image)
    })?;
    zip.finish()?.flush()
}

/// Pickles as NumPy writes them: arrays, and the rows of each class or the label of each image.
fn make_pickles(dir: &Path, rows: bool) -> io::Result<()> {
    for (part, first, end) in PARTS {
        let name = match (rows, part) {
            (true, _) => format!("mini-imagenet-cache-{part}.pkl"),
            (false, "train") => "miniImageNet_category_split_train_phase_train.pickle".into(),
            (false, _) => format!("miniImageNet_category_split_{part}.pickle"),
        };
        let mut out = BufWriter::new(fs::File::create(dir.join(name))?);
        let n = (end - first) * SAMPLES;
        out.write_all(b"\x80\x03}(")?;
        text(&mut out, if rows { "image_data" } else { "data" })?;
        out.write_all(
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\x01b\x87R(K\x01(",
        )?;
        [n, 84, 84, 3].iter().try_for_each(|&extent| number(&mut out, extent))?;
        out.write_all(b"tN\x89B")?;
        out.write_all(&((n * SIZE) as u32).to_le_bytes())?;
        for class in first..end {
            for sample in 0..SAMPLES {
                out.write_all(&colour(class, sample).repeat(84 * 84))?;
            }
        }
        out.write_all(b"tb")?;
        text(&mut out, if rows { "class_dict" } else { "labels" })?;
        out.write_all(if rows { b"}(" } else { b"](" })?;
        for class in first..end {
            if rows {
                text(&mut out, &format!("n{class:08}"))?;
                out.write_all(b"](")?;
            }
            for sample in 0..SAMPLES {
                number(&mut out, if rows { (class - first) * SAMPLES + sample } else { class })?;
            }
            if rows {
                out.write_all(b"e")?;
            }
        }
        out.write_all(if rows { b"uu." } else { b"eu." })?;
        out.flush()?;
    }
    Ok(())
}

fn text(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(b"X")?;
    out.write_all(&(text.len() as u32).to_le_bytes())?;
    out.write_all(text.as_bytes())
}

fn number(out: &mut impl Write, number: usize) -> io::Result<()> {
    out.write_all(b"J")?;
    out.write_all(&(number as i32).to_le_bytes())
}
