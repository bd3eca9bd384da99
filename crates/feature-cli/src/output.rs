//! Results, in the format that the user wants.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::cli::Format;
use crate::exit::Result;

/// How many rows make a table; a longer result becomes several.
const PAGE: usize = 1000;

/// Standard output, in a format.
pub(crate) struct Output {
    format: Format,
    out: BufWriter<Stdout>,
}

impl Output {
    /// In this format, or else as a table on a terminal and as NDJSON elsewhere.
    pub(crate) fn new(format: Option<Format>) -> Self {
        let usual = if io::stdout().is_terminal() { Format::Table } else { Format::Ndjson };
        Self { format: format.unwrap_or(usual), out: BufWriter::new(io::stdout()) }
    }

    /// The format.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Writes one thing: its properties one below another in a table, an object in JSON.
    pub(crate) fn record(&mut self, properties: &[(&str, Value)]) -> Result<()> {
        let (names, values): (Vec<_>, Vec<_>) = properties.iter().cloned().unzip();
        match self.format {
            Format::Table => {
                let mut table = table();
                for (name, value) in properties {
                    table.add_row([(*name).to_owned(), plain(value)]);
                }
                writeln!(self.out, "{table}")?;
            }
            Format::Json => self.json(&Row { columns: &names, cells: &values })?,
            Format::Ndjson | Format::Csv => {
                let mut rows = self.rows(&names);
                rows.push(values)?;
                rows.finish()?;
            }
        }
        Ok(self.out.flush()?)
    }

    /// Begins a list of things with the same properties.
    pub(crate) fn rows<S: AsRef<str>>(&mut self, columns: &[S]) -> Rows<'_> {
        let columns = columns.iter().map(|column| column.as_ref().to_owned()).collect();
        Rows { output: self, columns, page: Vec::new(), begun: false }
    }

    fn json(&mut self, value: &impl Serialize) -> Result<()> {
        serde_json::to_writer_pretty(&mut self.out, value).map_err(io::Error::from)?;
        Ok(writeln!(self.out)?)
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// A cell as text: what is a string without quotes, null as nothing.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// An object whose members keep the order of the columns.
struct Row<'a, S> {
    columns: &'a [S],
    cells: &'a [Value],
}

impl<N: AsRef<str>> Serialize for Row<'_, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, cell) in self.columns.iter().zip(self.cells) {
            map.serialize_entry(column.as_ref(), cell)?;
        }
        map.end()
    }
}

/// A list on its way to standard output, row by row.
pub(crate) struct Rows<'a> {
    output: &'a mut Output,
    columns: Vec<String>,
    page: Vec<Vec<Value>>,
    begun: bool,
}

impl Rows<'_> {
    /// Adds a row, a cell for each column.
    pub(crate) fn push(&mut self, cells: Vec<Value>) -> Result<()> {
        self.page.push(cells);
        if self.page.len() >= PAGE { self.flush() } else { Ok(()) }
    }

    /// Ends the list.
    pub(crate) fn finish(mut self) -> Result<()> {
        if !self.page.is_empty() || !self.begun {
            self.flush()?;
        }
        if self.output.format == Format::Json {
            self.output.out.write_all(b"\n]\n")?;
        }
        Ok(self.output.out.flush()?)
    }

    fn flush(&mut self) -> Result<()> {
        let Output { format, out } = self.output;
        match format {
            Format::Table => {
                let mut table = table();
                table.set_header(&self.columns);
                table.add_rows(self.page.iter().map(|cells| cells.iter().map(plain)));
                writeln!(out, "{table}")?;
            }
            Format::Json => {
                for (at, cells) in self.page.iter().enumerate() {
                    out.write_all(if at == 0 && !self.begun { b"[\n" } else { b",\n" })?;
                    serde_json::to_writer(&mut *out, &Row { columns: &self.columns, cells })
                        .map_err(io::Error::from)?;
                }
                if self.page.is_empty() {
                    out.write_all(b"[")?;
                }
            }
            Format::Ndjson => {
                for cells in &self.page {
                    serde_json::to_writer(&mut *out, &Row { columns: &self.columns, cells })
                        .map_err(io::Error::from)?;
                    out.write_all(b"\n")?;
                }
            }
            Format::Csv => {
                let mut csv = csv::Writer::from_writer(&mut *out);
                if !self.begun {
                    csv.write_record(&self.columns).map_err(io::Error::from)?;
                }
                for cells in &self.page {
                    csv.write_record(cells.iter().map(plain)).map_err(io::Error::from)?;
                }
                csv.flush()?;
            }
        }
        self.begun = true;
        self.page.clear();
        Ok(out.flush()?)
    }
}
