//! The proof that links between the project's documents lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{Result, root};

/// Checks that every relative link of the repository's Markdown files names a file or folder.
///
/// # Errors
/// Each link that does not, with its file.
pub(crate) fn check() -> Result<()> {
    let mut wrong = Vec::new();
    for file in documents(root())? {
        let folder = file.parent().unwrap_or(root());
        for target in targets(&fs::read_to_string(&file)?) {
            if !folder.join(&target).exists() {
                let file = file.strip_prefix(root()).unwrap_or(&file).display();
                wrong.push(format!("{file}: the link to `{target}` leads nowhere"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Every Markdown file below a folder, except in hidden folders and those that builds fill.
fn documents(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut documents = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            documents.extend(self::documents(&path)?);
        } else if name.ends_with(".md") {
            documents.push(path);
        }
    }
    Ok(documents)
}

/// The relative targets of the links of a document, without anchors; code is passed over.
fn targets(document: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut in_code = false;
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // Every other part stands between backticks.
        for part in line.split('`').step_by(2) {
            let ends = part.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            let files = ends.map(|(target, _)| target.split('#').next().unwrap_or_default());
            targets.extend(files.filter(|t| !t.is_empty() && !t.contains(':')).map(str::to_owned));
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_targets_outside_code_are_taken() {
        let document = "[a](docs/a.md) and [b](b.md#part), [c](https://c.org), [d](#here), `[e](e.md)`\n\
            ```\n[f](f.md)\n```\n[g](../g)";
        assert_eq!(targets(document), ["docs/a.md", "b.md", "../g"]);
    }
}
