use std::collections::BTreeSet;
use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{check_failure, episode_key};

const SIZES: Sizes = Sizes { shots: 2, query: 3, train_shots: 1, train_query: 2 };
const SHARES: Shares = Shares { train: 0.5, validation: 0.25, seed: 1 };

fn words(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn long() -> Columns {
    Columns::Long { task: words(&["who", "leg"]), x: words(&["t", "u"]), y: words(&["y"]) }
}

/// Eight tasks of five points: y = 100 task + point.
fn table() -> String {
    let rows = (0..40).map(|at| {
        let (task, point) = (at % 8, at / 8);
        format!(
            "{at},w{},{},{point},{},{}\n",
            task / 2,
            task % 2,
            point * point,
            100 * task + point
        )
    });
    format!("id,who,leg,t,u,y\n{}", rows.collect::<String>())
}

fn read(text: &str, columns: &Columns, standardise: bool) -> Result<Curves, Error> {
    let dir: TempDir = tempfile::tempdir().unwrap();
    let file = dir.path().join("own.csv");
    fs::write(&file, text).unwrap();
    Curves::load(&file, columns, SHARES, standardise, SIZES)
}

fn episode(curves: &Curves, split: Split, task: u64) -> Episode {
    let mut episode = Episode::zeros(&curves.spec(split));
    curves.sample_into(split, episode_key(1, split, 0, task), &mut episode);
    episode
}

#[test]
fn points_are_found_and_used_once() {
    let curves = read(&table(), &long(), false).unwrap();
    assert_eq!(curves.tasks.len(), 8);
    assert_eq!(curves.tasks[3].name, "w1/1");
    let mut seen = BTreeSet::new();
    for (split, task) in Split::ALL.into_iter().flat_map(|s| (0..60).map(move |t| (s, t))) {
        let Episode { support_x, support_y, query_x, query_y } = episode(&curves, split, task);
        let rows = [support_x.as_f32(), query_x.as_f32()].concat();
        let y = [support_y.as_f32(), query_y.as_f32()].concat();
        let mut points = BTreeSet::new();
        for (x, y) in rows.chunks_exact(2).zip(&y) {
            assert_eq!((x[0] * x[0], x[0]), (x[1], y % 100.0));
            points.insert(x[0] as usize);
            seen.insert((split.to_string(), (y / 100.0) as usize));
        }
        let (support, query) = SIZES.of(split);
        assert_eq!(points.len(), support + query, "a point twice");
        assert!(y.iter().all(|value| (value / 100.0) as usize == (y[0] / 100.0) as usize));
    }
    assert_eq!(seen.len(), 8, "every task in one split");
}

#[test]
fn training_tasks_alone_set_the_scale() {
    let (plain, scaled) =
        (read(&table(), &long(), false).unwrap(), read(&table(), &long(), true).unwrap());
    let train = plain.splits.train.iter().flat_map(|&task| plain.tasks[task].y.clone());
    let train: Vec<f64> = train.collect();
    let mean = train.iter().sum::<f64>() / 20.0;
    let deviation = (train.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / 20.0).sqrt();
    for split in Split::ALL {
        let (plain, scaled) = (episode(&plain, split, 0), episode(&scaled, split, 0));
        for (plain, scaled) in plain.query_y.as_f32().iter().zip(scaled.query_y.as_f32()) {
            let expected = ((f64::from(*plain) - mean) / deviation) as f32;
            assert!((scaled - expected).abs() <= 1e-5, "{scaled} {expected}");
        }
    }
}

#[test]
fn other_layouts_hold_the_same() {
    let wide = "t,a,b,c,d\n0,0,10,20,30\n1,1,11,21,31\n2,2,12,22,32\n3,3,13,23,33\n4,4,14,24,34\n";
    let wide = read(wide, &Columns::Wide { x: words(&["t"]) }, false).unwrap();
    let grid = "row,p.-1.0,p.-1.1,p.-1.2,p.-1.3,p.-1.4,q.0,q.1,q.2,q.3,q.4\n\
                n,0,1,2,3,4,10,11,12,13,14\ns,20,21,22,23,24,30,31,32,33,34\n";
    let grid = read(grid, &Columns::Grid, false).unwrap();
    assert_eq!(
        grid.tasks.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
        ["n/p.-1", "n/q", "s/p.-1", "s/q"]
    );
    for (wide, grid) in wide.tasks.iter().zip(&grid.tasks) {
        assert_eq!((&wide.x, &wide.y, wide.len), (&grid.x, &grid.y, 5));
    }
}

#[test]
fn what_is_wrong_is_named() {
    let check = |text: &str, columns: &Columns, kind, expected: &[&str]| {
        check_failure(read(text, columns, true).map(|_| ()), kind, expected);
    };
    let (corrupt, unknown, few) = (ErrorKind::Corrupt, ErrorKind::Unknown, ErrorKind::TooFew);
    for cell in ["NA", "", "1,5", "inf"] {
        let cell = if cell.contains(',') { format!("\"{cell}\"") } else { cell.to_string() };
        let text = table().replacen(",302\n", &format!(",{cell}\n"), 1);
        let place = ["own.csv, line 21, column \"y\": found", "expected a number"];
        check(&text, &long(), corrupt, &place);
    }
    let nameless = table().replacen(",w0,0,", ",,0,", 1);
    let place = ["own.csv, line 2, column \"who\": found nothing", "the name of a task"];
    check(&nameless, &long(), corrupt, &place);
    let other = Columns::Long { task: words(&["who"]), x: words(&["time"]), y: words(&["y"]) };
    check(&table(), &other, unknown, &["no column is named \"time\"", "id, who, leg, t, u, y"]);
    check("a,a\n1,2\n", &long(), corrupt, &["two columns are named \"a\""]);
    check("who,leg,t,u,y\n1,2\n", &long(), corrupt, &["own.csv", "as many in each row"]);
    check("who,leg,t,u,y\n", &long(), few, &["no points found"]);
    check("", &long(), unknown, &["no column is named \"who\"", "0 columns"]);
    let short: String = table().lines().take(38).map(|line| format!("{line}\n")).collect();
    check(&short, &long(), few, &["has 4 points, but 2 support and 3 query points need 5"]);
    let one = "who,leg,t,u,y\n".to_string() + &"a,0,1,2,3\n".repeat(5);
    check(&one, &long(), few, &["none of its 1 tasks is in the"]);
    let constant = table().replace(",u,", ",v,").replace("id,", "u,");
    let constant: String = constant
        .lines()
        .enumerate()
        .map(|(at, line)| match line.split_once(',') {
            Some((_, rest)) if at > 0 => format!("7,{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    check(
        &constant,
        &long(),
        ErrorKind::Shape,
        &["column \"u\" has the same value in all training"],
    );
    check("row,p.x\na,1\n", &Columns::Grid, corrupt, &["column \"p.x\"", "names like place.7"]);
    let missing = Curves::load(Path::new("none.csv"), &long(), SHARES, true, SIZES);
    check_failure(missing.map(|_| ()), ErrorKind::NotFound, &["none.csv: not found"]);
}
