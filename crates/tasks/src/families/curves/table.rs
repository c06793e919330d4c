//! From a CSV file to points in tasks.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Columns, Points};
use crate::files::read_text;
use crate::{Error, ErrorKind};

/// The header, and the rows with their line numbers.
struct Table {
    name: String,
    header: Vec<String>,
    rows: Vec<(u64, Vec<String>)>,
}

/// The tasks of a file, in order of first appearance.
pub(super) fn read(file: &Path, columns: &Columns) -> Result<Vec<Points>, Error> {
    let table = Table::parse(file.display().to_string(), &read_text(file)?)?;
    let tasks = match columns {
        Columns::Long { task, x, y } => table.long(task, x, y)?,
        Columns::Wide { x } => table.wide(x)?,
        Columns::Grid => table.grid()?,
    };
    if tasks.is_empty() {
        let message = format!("{}: no points found: expected rows below the header", table.name);
        return Err(Error::new(ErrorKind::TooFew, message));
    }
    Ok(tasks)
}

/// Collects points by task name.
#[derive(Default)]
struct Tasks {
    index: BTreeMap<String, usize>,
    tasks: Vec<Points>,
}

impl Tasks {
    fn push(&mut self, name: String, x: &[f64], y: &[f64]) {
        let index = *self.index.entry(name.clone()).or_insert_with(|| {
            self.tasks.push(Points { name, ..Points::default() });
            self.tasks.len() - 1
        });
        self.tasks[index].x.extend_from_slice(x);
        self.tasks[index].y.extend_from_slice(y);
        self.tasks[index].len += 1;
    }
}

impl Table {
    fn parse(name: String, text: &str) -> Result<Table, Error> {
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let damaged = |cause: csv::Error| {
            let message = format!(
                "{name}: {cause}: expected comma-separated values, as many in each row as in the header"
            );
            Error::new(ErrorKind::Corrupt, message)
        };
        let header: Vec<String> =
            reader.headers().map_err(damaged)?.iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(damaged)?;
            let line = record.position().map_or(0, csv::Position::line);
            rows.push((line, record.iter().map(str::to_owned).collect()));
        }
        if let Some(twice) =
            (1..header.len()).find(|&at| header[..at].contains(&header[at])).map(|at| &header[at])
        {
            let message =
                format!("{name}: two columns are named {twice:?}: expected different names");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(Table { name, header, rows })
    }

    /// The position of a column.
    fn column(&self, wanted: &str) -> Result<usize, Error> {
        self.header.iter().position(|name| name == wanted).ok_or_else(|| {
            const SHOWN: usize = 12;
            let mut known = self.header.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
            if self.header.len() > SHOWN {
                known += ", ...";
            }
            let message = format!(
                "{}: no column is named {wanted:?}: expected one of its {} columns: {known}",
                self.name,
                self.header.len()
            );
            Error::new(ErrorKind::Unknown, message)
        })
    }

    fn columns(&self, wanted: &[String]) -> Result<Vec<usize>, Error> {
        wanted.iter().map(|name| self.column(name)).collect()
    }

    /// The number in a cell.
    fn number(&self, (line, row): &(u64, Vec<String>), column: usize) -> Result<f64, Error> {
        let found = &row[column];
        match found.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => {
                let message = format!(
                    "{}, line {line}, column {:?}: found {found:?}, expected a number; fill in or remove the row",
                    self.name, self.header[column]
                );
                Err(Error::new(ErrorKind::Corrupt, message))
            }
        }
    }

    fn numbers(&self, row: &(u64, Vec<String>), columns: &[usize]) -> Result<Vec<f64>, Error> {
        columns.iter().map(|&column| self.number(row, column)).collect()
    }

    fn long(&self, task: &[String], x: &[String], y: &[String]) -> Result<Vec<Points>, Error> {
        let (key, x, y) = (self.columns(task)?, self.columns(x)?, self.columns(y)?);
        let mut tasks = Tasks::default();
        for row in &self.rows {
            let name: Vec<&str> = key.iter().map(|&column| row.1[column].as_str()).collect();
            if let Some(&column) = key.iter().find(|&&column| row.1[column].is_empty()) {
                let message = format!(
                    "{}, line {}, column {:?}: found nothing, expected the name of a task; fill in or remove the row",
                    self.name, row.0, self.header[column]
                );
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            tasks.push(name.join("/"), &self.numbers(row, &x)?, &self.numbers(row, &y)?);
        }
        Ok(tasks.tasks)
    }

    fn wide(&self, x: &[String]) -> Result<Vec<Points>, Error> {
        let x = self.columns(x)?;
        let mut tasks = Tasks::default();
        for row in &self.rows {
            let at = self.numbers(row, &x)?;
            for column in (0..self.header.len()).filter(|column| !x.contains(column)) {
                tasks.push(self.header[column].clone(), &at, &[self.number(row, column)?]);
            }
        }
        Ok(tasks.tasks)
    }

    fn grid(&self) -> Result<Vec<Points>, Error> {
        let named = |column: usize| -> Result<(&str, f64), Error> {
            let name = &self.header[column];
            let parts = name.rsplit_once('.');
            let parsed = parts.and_then(|(task, x)| Some((task, x.parse::<f64>().ok()?)));
            parsed.ok_or_else(|| {
                let message = format!(
                    "{}: column {name:?}: expected names like place.7, what follows the last point a number, in all \
                     columns but the first",
                    self.name
                );
                Error::new(ErrorKind::Corrupt, message)
            })
        };
        let columns = (1..self.header.len()).map(named).collect::<Result<Vec<_>, Error>>()?;
        let mut tasks = Tasks::default();
        for row in &self.rows {
            for (at, (task, x)) in columns.iter().enumerate() {
                tasks.push(format!("{}/{task}", row.1[0]), &[*x], &[self.number(row, at + 1)?]);
            }
        }
        Ok(tasks.tasks)
    }
}
