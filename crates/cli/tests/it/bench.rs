//! `innerloop bench`

use serde_json::Value;

use crate::command::Place;

#[test]
fn a_workload_is_timed() {
    let place = Place::new();
    let out = place.run(&["bench", "--workload", "W1-1", "--repetitions", "3", "--json"]).ok();
    let line: Value = serde_json::from_str(&out).expect("a JSON line");
    assert_eq!(line["workload"], "W1-1");
    let times = line["ms"].as_array().expect("a list of times");
    assert_eq!(times.len(), 3);
    assert!(times.iter().all(|ms| ms.as_f64().is_some_and(|ms| ms > 0.0)));
    let gflop = line["gflop"].as_f64().expect("work is counted");
    assert!(gflop > 0.005 && gflop < 0.05, "{gflop}");
    let table = place.run(&["bench", "--workload", "W1-1", "--repetitions", "1"]).ok();
    assert!(table.contains("median ms") && table.contains("W1-1"), "{table}");
}

#[test]
fn every_workload_has_a_name() {
    let place = Place::new();
    let list = place.run(&["bench", "--list"]).ok();
    for name in ["W1-1", "W2-5", "W3", "W4-5shot", "W5-reptile", "W6-50"] {
        assert!(list.lines().any(|line| line.split_whitespace().next() == Some(name)), "{list}");
    }
    place.run(&["bench", "--workload", "W9"]).fails(2, &["W9", "W1-1"]);
    place.run(&["bench", "--repetitions", "0"]).fails(2, &["--repetitions"]);
}
