//! A part of a long list.

use maud::{Markup, html};

use super::format::query;

/// Which part of a list is shown: pages count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paging {
    page: usize,
    pages: usize,
    size: usize,
    all: usize,
}

impl Paging {
    /// The page that was asked for, or the nearest that there is.
    pub(super) fn new(asked: &str, all: usize, size: usize) -> Self {
        let pages = all.div_ceil(size).max(1);
        Self { page: asked.parse().unwrap_or(1).clamp(1, pages), pages, size, all }
    }

    /// The numbers of what is on the page.
    pub(super) fn range(self) -> std::ops::Range<usize> {
        let start = (self.page - 1) * self.size;
        start..(start + self.size).min(self.all)
    }

    /// How many there are, of what is called so where there is one and where there are many, and the way to the other
    /// pages.
    pub(super) fn links(self, path: &str, fields: &[(&str, &str)], [one, many]: [&str; 2]) -> Markup {
        let to = |page: usize| {
            let page = page.to_string();
            let fields: Vec<_> = fields.iter().copied().chain([("page", &*page)]).collect();
            format!("{path}?{}", query(&fields))
        };
        let range = self.range();
        html! {
            div.paging {
                p role="status" {
                    @if self.pages > 1 { (range.start + 1) "–" (range.end) " of " }
                    (self.all) " " @if self.all == 1 { (one) } @else { (many) }
                }
                @if self.pages > 1 {
                    nav aria-label={ "Pages of " (many) } {
                        ul {
                            @if self.page > 1 {
                                li { a href=(to(1)) { "First" } }
                                li { a href=(to(self.page - 1)) rel="prev" { "Previous" } }
                            }
                            li aria-current="page" { "Page " (self.page) " of " (self.pages) }
                            @if self.page < self.pages {
                                li { a href=(to(self.page + 1)) rel="next" { "Next" } }
                                li { a href=(to(self.pages)) { "Last" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_on_one_page_and_no_page_is_outside() {
        for (all, size) in [(0, 10), (1, 10), (10, 10), (11, 10), (95, 10)] {
            let pages = Paging::new("1", all, size).pages;
            let seen: Vec<usize> =
                (1..=pages).flat_map(|page| Paging::new(&page.to_string(), all, size).range()).collect();
            assert_eq!(seen, (0..all).collect::<Vec<_>>());
            for (asked, page) in [("", 1), ("0", 1), ("-1", 1), ("x", 1), ("1000000", pages)] {
                assert_eq!(Paging::new(asked, all, size).page, page, "{asked}");
            }
        }
    }
}
