//! `cargo xtask docs`: the book of `docs/`, without a warning and without a link that leads nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::links::documents;
use crate::process::{Result, find, root};

/// Makes the book.
const MDBOOK: (&str, &str) = ("mdbook", "0.5.4");

/// Where `book.toml` says that the book is, and what it is made from, in the repository.
const BOOK: &str = "target/book";
const SOURCE: &str = "docs";

/// Every page of a book, by its path there.
type Pages = BTreeMap<PathBuf, String>;

/// Builds the book. Its links to other files of the repository lead to where that can be browsed, if it is known, and
/// else into this working copy.
///
/// # Errors
/// When mdbook is not there or fails; its warnings; documents that are not in the book; links that lead nowhere.
pub(crate) fn build(repository: Option<&str>) -> Result<ExitCode> {
    let (name, version) = MDBOOK;
    let mdbook = find(name).ok_or_else(|| {
        format!(
            "there is no {name} on the PATH: `cargo install {name} --locked --version {version}` brings it"
        )
    })?;
    let built = Command::new(mdbook).arg("build").current_dir(root()).output()?;
    let said = [built.stdout, built.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    eprint!("{said}");
    if !built.status.success() || said.lines().any(|line| line.contains("WARN") || line.contains("ERROR")) {
        return Err(format!("{name} has something to say against the book").into());
    }

    let book = root().join(BOOK);
    let pages = pages(&book)?;
    let mut wrong = left_out(&pages)?;
    let on_github = on_github();
    let repository = repository.or(on_github.as_deref());
    let (mut links, mut outside) = (0, 0);
    for (page, html) in &pages {
        let mut led = String::new();
        let mut rest = html.as_str();
        while let Some((before, target, after)) = next_link(rest) {
            led.push_str(before);
            links += 1;
            match lead(page, target, &pages, &book) {
                Led::Stays => led.push_str(target),
                Led::Out(file) => {
                    outside += 1;
                    led.push_str(&address(page, &file, repository));
                }
                Led::Nowhere(why) => wrong.push(format!("{}: `{target}` {why}", page.display())),
            }
            rest = after;
        }
        led.push_str(rest);
        fs::write(book.join(page), led)?;
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n").into());
    }
    println!("{} pages, {links} links, {outside} of them to files of the repository", pages.len());
    if repository.is_none() {
        println!("These lead into this working copy. For a book that others read: --repository URL");
    }
    println!("{BOOK}/index.html");
    Ok(ExitCode::SUCCESS)
}

/// Where the repository can be browsed, in a workflow of GitHub.
fn on_github() -> Option<String> {
    let variable = |name| std::env::var(name).ok();
    Some(format!("{}/{}", variable("GITHUB_SERVER_URL")?, variable("GITHUB_REPOSITORY")?))
}

/// The pages of a book but for that of addresses that do not exist, whose links begin at the root of a site.
fn pages(book: &Path) -> Result<Pages> {
    let mut pages = Pages::new();
    let mut folders = vec![book.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let page = path.strip_prefix(book)?.to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "html") && page != Path::new("404.html") {
                pages.insert(page, fs::read_to_string(path)?);
            }
        }
    }
    Ok(pages)
}

/// The documents that have no page, since `SUMMARY.md` does not name them.
fn left_out(pages: &Pages) -> Result<Vec<String>> {
    let source = root().join(SOURCE);
    let mut left_out = Vec::new();
    for document in documents(&source)? {
        let name = document.strip_prefix(&source)?;
        let is_index = name.file_name().is_some_and(|file| file == "README.md");
        let page = if is_index { name.with_file_name("index.html") } else { name.with_extension("html") };
        if name != Path::new("SUMMARY.md") && !pages.contains_key(&page) {
            left_out.push(format!("{SOURCE}/{} is not in {SOURCE}/SUMMARY.md", name.display()));
        }
    }
    Ok(left_out)
}

/// The next target of a link or picture of a page, and what is before and after it.
fn next_link(html: &str) -> Option<(&str, &str, &str)> {
    let begins =
        [" href=\"", " src=\""].iter().filter_map(|name| Some(html.find(name)? + name.len())).min()?;
    let length = html[begins..].find('"')?;
    let (before, rest) = html.split_at(begins);
    let (target, after) = rest.split_at(length);
    Some((before, target, after))
}

/// What becomes of a link.
#[derive(Debug, PartialEq, Eq)]
enum Led {
    /// It leads to a page or file of the book, or to another site.
    Stays,
    /// It leads to this file or folder of the repository.
    Out(PathBuf),
    Nowhere(&'static str),
}

/// Where a link on a page leads.
fn lead(page: &Path, target: &str, pages: &Pages, book: &Path) -> Led {
    let (path, part) = target.split_once('#').unwrap_or((target, ""));
    if path.contains(':') {
        return Led::Stays;
    }
    let folder = page.parent().unwrap_or(Path::new(""));
    let Some(file) = (if path.is_empty() { Some(page.to_owned()) } else { plain(&folder.join(path)) }) else {
        return lead_out(folder, path);
    };
    let file = if book.join(&file).is_dir() { file.join("index.html") } else { file };
    match pages.get(&file) {
        Some(html) if !part.is_empty() && !parts(html).contains(part) => {
            Led::Nowhere("names no part of that page")
        }
        None if !book.join(&file).is_file() => Led::Nowhere("leads nowhere"),
        _ => Led::Stays,
    }
}

/// Where a link leads that leaves the book.
fn lead_out(folder: &Path, path: &str) -> Led {
    let Some(file) = plain(&Path::new(SOURCE).join(folder).join(path)) else {
        return Led::Nowhere("leaves the repository");
    };
    // mdbook takes each document for a page.
    let document = file.with_extension("md");
    let is_page = file.extension().is_some_and(|kind| kind == "html");
    let file = if is_page && root().join(&document).is_file() { document } else { file };
    if root().join(&file).exists() { Led::Out(file) } else { Led::Nowhere("leads nowhere") }
}

/// A path without `.` and `..`, if it does not lead out of where it begins.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !plain.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(plain)
}

/// What a page has that a link can name.
fn parts(html: &str) -> BTreeSet<&str> {
    html.split(" id=\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(name, _)| name).collect()
}

/// What a page's link to a file of the repository becomes.
fn address(page: &Path, file: &Path, repository: Option<&str>) -> String {
    let kind = if root().join(file).is_dir() { "tree" } else { "blob" };
    match repository {
        Some(url) => format!("{}/{kind}/HEAD/{}", url.trim_end_matches('/'), file.display()),
        None => {
            let depth = Path::new(BOOK).join(page).components().count() - 1;
            format!("{}{}", "../".repeat(depth), file.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages_of_a_book() -> Pages {
        let page = |name: &str, html: &str| (PathBuf::from(name), html.to_owned());
        [page("a.html", "<h2 id=\"here\">"), page("adr/index.html", ""), page("adr/1.html", "")].into()
    }

    #[test]
    fn links_are_found_and_what_is_around_them() {
        assert_eq!(next_link(r#"<a href="b.html">b</a>"#), Some((r#"<a href=""#, "b.html", r#"">b</a>"#)));
        assert_eq!(next_link(r#"<img src="b.png"><a href="c">"#).unwrap().1, "b.png");
        assert_eq!(next_link("<code>href=&quot;</code>"), None);
    }

    #[test]
    fn a_link_stays_in_the_book_leads_out_of_it_or_nowhere() {
        let (pages, book) = (pages_of_a_book(), Path::new("nowhere"));
        let lead = |page: &str, target: &str| lead(Path::new(page), target, &pages, book);
        for target in ["#here", "adr/1.html", "adr/index.html", "https://example.org/x#y", "mailto:a@b.org"] {
            assert_eq!(lead("a.html", target), Led::Stays, "{target}");
        }
        assert_eq!(lead("adr/1.html", "../a.html#here"), Led::Stays);
        assert_eq!(lead("adr/1.html", "../a.html#there"), Led::Nowhere("names no part of that page"));
        assert_eq!(lead("a.html", "b.html"), Led::Nowhere("leads nowhere"));
        assert_eq!(lead("a.html", "../xtask"), Led::Out("xtask".into()));
        // The page that mdbook makes of a document is none.
        assert_eq!(lead("adr/1.html", "../../README.html"), Led::Out("README.md".into()));
        assert_eq!(lead("a.html", "../none.html"), Led::Nowhere("leads nowhere"));
        assert_eq!(lead("a.html", "../../none.html"), Led::Nowhere("leaves the repository"));
    }

    #[test]
    fn a_file_of_the_repository_has_an_address_in_it_or_in_the_working_copy() {
        let address = |page: &str, file: &str, url| address(Path::new(page), Path::new(file), url);
        assert_eq!(address("a.html", "README.md", None), "../../README.md");
        assert_eq!(address("adr/1.html", "xtask", None), "../../../xtask");
        let url = Some("https://example.org/fstore/");
        assert_eq!(address("a.html", "README.md", url), "https://example.org/fstore/blob/HEAD/README.md");
        assert_eq!(address("a.html", "xtask", url), "https://example.org/fstore/tree/HEAD/xtask");
    }
}
