//! Keys that go with one family of tasks.

use super::*;

#[test]
fn every_family_has_defaults_and_a_round_trip() {
    for name in Family::names() {
        let config = Config::of_family(name, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert!(config.to_toml().contains(&format!("family = \"{name}\"")), "{name}");
        check_round_trip(&config);
    }
    for text in [
        "tasks = { family = 'omniglot', split = 'lake', data = 'd' }",
        "tasks = { family = 'double_mnist', size = 32, images_seed = 7, data = 'd' }",
        "tasks = { family = 'images', data = 'd', size = 84, channels = 3, split_file = 's.csv', train_share = 0.5, \
         validation_share = 0.25, split_seed = 9 }",
        "tasks = { family = 'curves', file = 'f.csv', task_columns = ['a', 'b'], x_columns = ['c', 'd'], y_columns = \
         ['e'], standardise = false, train_share = 0, validation_share = 1, split_seed = 2 }",
        "tasks = { family = 'curves', layout = 'wide', x_columns = ['c'] }",
        "tasks = { family = 'curves', layout = 'grid' }",
        "tasks = { family = 'sine_line', noise = 0, train_shots = 3 }",
    ] {
        check_round_trip(&parse(text).unwrap_or_else(|error| panic!("{error}")));
    }
}

#[test]
fn what_a_family_cannot_have_is_refused() {
    for (text, message) in [
        (
            "family = 'double_mnist', size = 65",
            "tasks.size is 65, expected a whole number from 8 to 64",
        ),
        (
            "family = 'triple_mnist', size = 7",
            "tasks.size is 7, expected a whole number from 8 to 84",
        ),
        (
            "family = 'images', channels = 2",
            "tasks.channels is 2, expected 1 for grey, 3 for colour, or 0 for what the files have",
        ),
        (
            "family = 'images', train_share = 0.75, validation_share = 0.5",
            "tasks.train_share + tasks.validation_share is 1.25, expected at most 1; the remainder is the test share",
        ),
        (
            "family = 'curves', train_share = -1",
            "tasks.train_share is -1, expected a finite number, 0 or more",
        ),
        (
            "family = 'curves', x_columns = []",
            "tasks.x_columns is [], expected the name of a column, or several",
        ),
        (
            "family = 'curves', layout = 'grid', x_columns = ['x']",
            "tasks.x_columns does not apply: the layout \"grid\" derives it from the column names; leave it out",
        ),
        (
            "family = 'sine_line', noise = -0.1",
            "tasks.noise is -0.1, expected a finite number, 0 or more",
        ),
    ] {
        check_text(&format!("tasks = {{ {text} }}"), message);
    }
}
