//! `docs/settings.md`: the keys of every kind, with the defaults of a file in which nothing is set.

use std::collections::BTreeSet;

use super::*;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");

/// A row of a table in the part of the page about a kind.
struct Row {
    /// `section.key`
    key: String,
    default: String,
}

/// The rows about a kind, and the sections that have a heading.
fn described(page: &str, kind: Kind) -> (Vec<Row>, BTreeSet<String>) {
    let (mut rows, mut sections) = (Vec::new(), BTreeSet::new());
    let (mut here, mut section) = (false, "");
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            here = heading == "Every kind" || heading.eq_ignore_ascii_case(&kind.to_string());
            section = "";
        } else if let Some(heading) = line.strip_prefix("### `[").filter(|_| here) {
            section = heading.trim_end_matches("]`");
            sections.insert(section.to_string());
        } else if let Some(row) = line.strip_prefix("| `").filter(|_| here) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let [key, default, _] = cells[..] else { panic!("not three cells: {line}") };
            let key = setting::join(section, key.trim_end_matches('`'));
            rows.push(Row { key, default: default.to_string() });
        }
    }
    (rows, sections)
}

fn read(kind: Kind, text: &str) -> Result<BTreeMap<String, String>> {
    Ok(match kind {
        Kind::FewShot => setting::flat(&Config::parse(text, "page")?),
        Kind::Rl => setting::flat(&RlConfig::parse(text, "page")?),
        Kind::Transfer => setting::flat(&TransferConfig::parse(text, "page")?),
    })
}

/// The keys that the message for an unknown key lists; none if this is not a section.
fn known(kind: Kind, section: &str) -> Vec<String> {
    let unknown = setting::join(section, "'?'");
    let message = read(kind, &format!("{unknown} = 1")).err().map(|error| error.to_string());
    let list = match section {
        "" => "; known: ".to_string(),
        _ => format!("; known in [{section}]: "),
    };
    let keys = message.as_deref().and_then(|message| message.split_once(&list));
    keys.map_or(Vec::new(), |(_, keys)| keys.split(", ").map(String::from).collect())
}

#[test]
fn the_page_of_settings_has_every_key_and_no_other() {
    let page = fs::read_to_string(PAGE).unwrap();
    for kind in Kind::ALL {
        let (rows, mut named) = described(&page, kind);
        let count = rows.len() + named.len();
        named.extend(rows.into_iter().map(|row| row.key));
        assert_eq!(named.len(), count, "{kind}: a key is there twice");
        let mut keys = BTreeSet::new();
        for top in known(kind, "") {
            keys.extend(known(kind, &top).iter().map(|key| setting::join(&top, key)));
            keys.insert(top);
        }
        assert!(keys.contains("run.threads"), "{kind}: {keys:?}");
        let missing: Vec<_> = keys.difference(&named).collect();
        let invented: Vec<_> = named.difference(&keys).collect();
        assert!(missing.is_empty(), "{kind}: docs/settings.md lacks {missing:?}");
        assert!(invented.is_empty(), "{kind}: docs/settings.md names unknown {invented:?}");
    }
}

#[test]
fn the_page_of_settings_begins_with_the_defaults_of_an_empty_file() {
    let page = fs::read_to_string(PAGE).unwrap();
    for kind in Kind::ALL {
        let used = read(kind, "").unwrap();
        for Row { key, default } in described(&page, kind).0 {
            let Some(used) = used.get(&key) else { continue };
            let Some(first) = default.strip_prefix('`').and_then(|rest| rest.split('`').next())
            else {
                continue;
            };
            let numbers = (first.parse::<f64>().ok(), used.parse::<f64>().ok());
            let same = first == used || first == used.trim_matches('"');
            let equal = same || numbers.0.is_some() && numbers.0 == numbers.1;
            assert!(equal, "{kind}: {key} is {used}, and docs/settings.md says {first}");
        }
    }
}
