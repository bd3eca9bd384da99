//! From what a user names to inputs: a file, a pattern, a folder, `-`, the URL of an object.

use std::io;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use walkdir::WalkDir;

use super::{Input, Place};
use crate::error::{IngestError, Result};
use crate::options::Format;

/// What Hive and Spark call the folder of rows whose column is null.
const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// The inputs that these names stand for, in the order of the names, those of a pattern or a folder sorted.
pub(crate) fn find(names: &[String], format: Option<Format>) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for name in names {
        let found = match name.as_str() {
            "-" => vec![Input::reader("standard input", format, io::stdin())],
            url if url.contains("://") => remote(url, format)?,
            path => local(path, format)?,
        };
        if found.is_empty() {
            return Err(IngestError::Input(format!("{name} has no files")));
        }
        inputs.extend(found);
    }
    if names.iter().filter(|name| *name == "-").count() > 1 {
        return Err(IngestError::Request("standard input can be read only once".to_owned()));
    }
    Ok(inputs)
}

fn local(name: &str, format: Option<Format>) -> Result<Vec<Input>> {
    let path = Path::new(name);
    let unreadable = |path: &Path, why: &dyn std::fmt::Display| {
        IngestError::Input(format!("cannot read {}: {why}", path.display()))
    };
    let paths = if path.is_dir() {
        inside(path).map_err(|e| unreadable(path, &e))?
    } else if !path.exists() && name.contains(['*', '?', '[']) {
        let pattern = glob::glob(name)
            .map_err(|e| IngestError::Request(format!("`{name}` is not a pattern for files: {e}")))?;
        let mut paths = Vec::new();
        for found in pattern {
            let found = found.map_err(|e| unreadable(e.path(), e.error()))?;
            match found.is_dir() {
                _ if is_note(&found, name) => {}
                true => paths.extend(inside(&found).map_err(|e| unreadable(&found, &e))?),
                false => paths.push(found),
            }
        }
        paths
    } else {
        vec![path.to_owned()]
    };
    let input = |path: PathBuf| {
        let metadata = path.metadata().map_err(|e| unreadable(&path, &e))?;
        Ok(Input {
            name: path.display().to_string(),
            format: format.or_else(|| of_name(&path.display().to_string())),
            partitions: partitions(path.components().filter_map(|part| part.as_os_str().to_str())),
            // A pipe has no length to measure progress by.
            bytes: metadata.is_file().then_some(metadata.len()),
            place: Place::File(path),
        })
    };
    paths.into_iter().map(input).collect()
}

/// The files under a folder, sorted.
fn inside(folder: &Path) -> Result<Vec<PathBuf>, walkdir::Error> {
    let entries = WalkDir::new(folder).follow_links(true).sort_by_file_name().into_iter();
    let entries = entries.filter_entry(|entry| entry.depth() == 0 || !is_passed_over(entry.path()));
    let files = entries.filter(|entry| entry.as_ref().map_or(true, |entry| !entry.file_type().is_dir()));
    files.map(|entry| entry.map(walkdir::DirEntry::into_path)).collect()
}

/// Whether a name is one of those by which programs leave notes beside the data.
pub(super) fn is_passed_over(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(['_', '.'])
}

/// The same of what a pattern has found, unless the pattern itself names it so.
pub(super) fn is_note(found: &Path, pattern: &str) -> bool {
    let parts: Vec<_> =
        Path::new(pattern).components().map(|part| part.as_os_str().to_string_lossy()).collect();
    let literal = parts.iter().take_while(|part| !part.contains(['*', '?', '['])).count();
    let named = |start: char| parts[literal..].iter().any(|part| part.starts_with(start));
    found.components().skip(literal).any(|part| {
        let start = part.as_os_str().to_string_lossy().chars().next();
        start.is_some_and(|start| matches!(start, '_' | '.') && !named(start))
    })
}

/// What a file is, by its name.
pub(super) fn of_name(name: &str) -> Option<Format> {
    let name = name.to_ascii_lowercase();
    let plain =
        [".gz", ".gzip", ".zst", ".zstd"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    match plain.rsplit_once('.')?.1 {
        "parquet" | "pq" => Some(Format::Parquet),
        "arrow" | "arrows" | "feather" | "ipc" => Some(Format::Arrow),
        "csv" | "tsv" => Some(Format::Csv),
        "ndjson" | "jsonl" | "json" => Some(Format::Json),
        _ => None,
    }
}

/// The columns that folders of this path give, as Hive and Spark name them: `country=US`.
pub(super) fn partitions<'a>(parts: impl Iterator<Item = &'a str>) -> Vec<(String, Option<String>)> {
    let mut parts: Vec<_> = parts.collect();
    // The last is the file itself.
    parts.pop();
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = parts.iter().filter_map(|part| part.split_once('=')).filter(|(name, _)| !name.is_empty());
    pairs.map(|(name, value)| (decoded(name), (value != NULL_PARTITION).then(|| decoded(value)))).collect()
}

#[cfg(feature = "object-store")]
fn remote(url: &str, format: Option<Format>) -> Result<Vec<Input>> {
    super::remote::find(url, format)
}

#[cfg(not(feature = "object-store"))]
fn remote(url: &str, _: Option<Format>) -> Result<Vec<Input>> {
    Err(IngestError::Request(format!(
        "{url} is in an object store; compile with the feature `object-store` of feature-ingest"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_format_compressed_or_not() {
        for (name, format) in [
            ("a/b.parquet", Some(Format::Parquet)),
            ("B.CSV.GZ", Some(Format::Csv)),
            ("x.jsonl.zst", Some(Format::Json)),
            ("x.feather", Some(Format::Arrow)),
            ("x.txt", None),
            ("x.gz", None),
            ("csv", None),
        ] {
            assert_eq!(of_name(name), format, "{name}");
        }
    }

    #[test]
    fn folders_give_columns() {
        let of = |path: &str| partitions(path.split('/'));
        let pair = |name: &str, value: &str| (name.to_owned(), Some(value.to_owned()));
        assert_eq!(
            of("data/country=US/day=2024-01-01/part-0.parquet"),
            [pair("country", "US"), pair("day", "2024-01-01")]
        );
        assert_eq!(of("x/city=S%C3%A3o%20Paulo/p"), [pair("city", "São Paulo")]);
        assert_eq!(of("x/city=__HIVE_DEFAULT_PARTITION__/p"), [("city".to_owned(), None)]);
        assert_eq!(of("x/a=b.csv"), []);
    }

    #[test]
    fn folders_and_patterns_stand_for_their_files_without_notes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["b/part-1.csv", "a/part-0.csv", "a/_SUCCESS", "_tmp/part-9.csv", "a/.part-0.csv.crc"] {
            std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            std::fs::write(path(name), "x").unwrap();
        }
        let names = |spec: PathBuf| {
            let found = find(&[spec.display().to_string()], None).unwrap();
            let relative = |input: &Input| {
                Path::new(input.name()).strip_prefix(folder.path()).unwrap().display().to_string()
            };
            found.iter().map(relative).collect::<Vec<_>>()
        };
        assert_eq!(names(folder.path().to_owned()), ["a/part-0.csv", "b/part-1.csv"]);
        assert_eq!(names(path("*/part-*.csv")), ["a/part-0.csv", "b/part-1.csv"]);
        assert_eq!(names(path("_*/*.csv")), ["_tmp/part-9.csv"]);
        assert_eq!(names(path("[a]*")), ["a/part-0.csv"]);
        assert!(find(&[path("none*").display().to_string()], None).is_err());
        assert!(find(&[path("none.csv").display().to_string()], None).is_err());
        assert!(find(&["-".to_owned(), "-".to_owned()], None).is_err());
    }
}
