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

/// Where the documentation of the crates will be.
const DOCS_RS: &str = "https://docs.rs/";

/// Checks that every link to the documentation of a crate of the workspace, as it will be at docs.rs, names
/// a page that has been made here.
///
/// # Errors
/// Each link that does not, with its file.
pub(crate) fn check_documentation() -> Result<()> {
    let made = root().join("target/doc");
    let mut wrong = Vec::new();
    for file in documents(&root().join("crates"))? {
        for target in fs::read_to_string(&file)?.lines().filter_map(definition).map(|(_, target)| target) {
            // Without a page of its own it is the crate as a whole.
            let Some((_, page)) = target.strip_prefix(DOCS_RS).and_then(|t| t.split_once("/latest/")) else {
                continue;
            };
            let (page, part) = page.split_once('#').unwrap_or((page, ""));
            let text = fs::read_to_string(made.join(page)).unwrap_or_default();
            if text.is_empty() || !(part.is_empty() || text.contains(&format!("id=\"{part}\""))) {
                let file = file.strip_prefix(root()).unwrap_or(&file).display();
                wrong.push(format!("{file}: the documentation has no {target}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// What in a crate's README does not work where there is only the README: links to other files, and names
/// in brackets that no line of it gives a target.
pub(crate) fn needs_repository(readme: &str) -> Vec<String> {
    let defined: Vec<&str> = readme.lines().filter_map(definition).map(|(name, _)| name).collect();
    let elsewhere = |target: &str| target.contains("://");
    let relative = prose_targets(readme).filter(|target| !elsewhere(target));
    let relative = relative.map(|target| format!("`{target}` is only in the repository"));
    let prose = readme.lines().filter(|line| definition(line).is_none());
    let names = prose.flat_map(|line| line.split("[`").skip(1)).filter_map(|rest| rest.split_once("`]"));
    let undefined = names
        .filter(|(name, rest)| !rest.starts_with('(') && !defined.contains(name))
        .map(|(name, _)| format!("the link [`{name}`] has no target"));
    relative.chain(undefined).collect()
}

/// Name and target of a line that says where a name in brackets leads.
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("[`")?.split_once("`]: ")
}

/// Every Markdown file below a folder, except in hidden folders and those that builds fill.
pub(crate) fn documents(folder: &Path) -> Result<Vec<PathBuf>> {
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

/// The relative targets of the links of a document, without anchors.
fn targets(document: &str) -> Vec<String> {
    prose_targets(document).filter(|target| !target.contains(':')).collect()
}

/// The targets of the links of a document, without anchors; code is passed over.
fn prose_targets(document: &str) -> impl Iterator<Item = String> {
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
            targets.extend(files.filter(|target| !target.is_empty()).map(str::to_owned));
        }
    }
    targets.into_iter()
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
    #[test]
    fn a_readme_that_stands_alone_has_absolute_links_and_defines_its_names() {
        let alone = "[`A`] and [`B`](https://b.org), [c](https://c.org)\n\n[`A`]: https://docs.rs/a/latest/a/struct.A.html\n";
        assert_eq!(needs_repository(alone), Vec::<String>::new());
        assert_eq!(
            needs_repository("[`A`] and [b](../b.md), [c](C::c)"),
            [
                "`../b.md` is only in the repository",
                "`C::c` is only in the repository",
                "the link [`A`] has no target"
            ]
        );
    }
}
