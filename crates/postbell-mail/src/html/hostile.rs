//! Pages that are written to use up time or memory: 200 kB of each kind, with a bound on the work.

mod pages;

use super::{Output, text_of};

/// The size of each page.
const SIZE: usize = 200_000;

/// The largest work for a byte: a stack of 512 elements is searched once for each of the shortest tags.
const STEPS_PER_BYTE: u64 = 150;

/// The largest work for any page: a few tenths of a second.
const MOST_STEPS: u64 = 38_000_000;

/// The work that the comparison with style sheets may take besides.
const STEPS_OF_RULES: u64 = 4_100_000;

#[test]
fn hostile_pages_take_work_in_proportion_to_their_size_up_to_a_limit() {
    for (size, limit, output) in [
        (SIZE, 20_000, Output::Text),
        (SIZE, usize::MAX / 4, Output::Text),
        (SIZE / 10, usize::MAX / 4, Output::Markdown),
    ] {
        for (kind, page) in pages::kinds() {
            let page = page(size);
            let read = text_of(|| page.as_bytes(), limit, output);
            let bound = STEPS_PER_BYTE * page.len() as u64 + STEPS_OF_RULES;
            let bound = bound.min(MOST_STEPS);
            assert!(read.steps <= bound, "{kind}: {} steps", read.steps);
            assert!(
                read.text.len() <= 4 * page.len() + 100_000,
                "{kind}: {} bytes",
                read.text.len()
            );
        }
    }
}

#[test]
fn a_deep_page_needs_no_deep_stack() {
    let page = "<div>".repeat(100_000) + "deep";
    let thread = std::thread::Builder::new().stack_size(256 * 1024);
    let read = thread
        .spawn(move || text_of(|| page.as_bytes(), 20_000, Output::Text))
        .unwrap()
        .join()
        .unwrap();
    assert_eq!(read.text, "deep");
}

mod any {
    use proptest::prelude::*;

    use super::{Output, text_of};

    proptest! {
        #[test]
        fn no_page_makes_it_panic(
            page in "(<[a-z!/]{1,6}( [a-z]{1,5}=[\"']?[^<]{0,9})?>|<(table|tr|td|li|ul|a href=http:x|b|p|style|pre)>|</[a-z]{1,5}>|&[a-z#0-9]{1,5};|[.#a-z]{1,3}\\{[a-z:;]{0,9}\\}|.){0,60}"
        ) {
            for output in [Output::Text, Output::Markdown] {
                let whole = text_of(|| page.as_bytes(), 100_000, output);
                let cut = text_of(|| page.as_bytes(), 10, output);
                prop_assert!(cut.text.len() <= whole.text.len() + 100);
            }
        }
    }
}
