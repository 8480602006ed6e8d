//! Tables that arrange the page, and tables that a person reads.

use crate::mail::body_of_html;

#[test]
fn a_layout_table_is_text() {
    let page = "<table width='100%'><tr><td align=center><table width=600><tr><td><table><tr><td>\
        <img src='https://t.example/o.gif' width=1 height=1></td></tr><tr><td><p>Dear Ann,</p>\
        <p>your table is booked.</p></td></tr></table></td></tr><tr><td></td><td><a href='https://t.example/0'>Item 0</a></td>\
        <td><a href='https://t.example/1'>Item 1</a></td></tr></table></td></tr></table>";
    let expected = "Dear Ann,\n\nyour table is booked.\n\nItem 0 (https://t.example/0) | Item 1 (https://t.example/1)";
    assert_eq!(body_of_html(page), expected);
}

#[test]
fn a_data_table_keeps_its_rows_and_columns() {
    let page = "<p>Sales</p><table><thead><tr><th></th><th>2025</th><th>2026</th></tr></thead>\
        <tr><td>Lamp</td><td></td><td>39.90</td></tr><tr><td>Chair<td>120.00<td>110.00</table>Bye";
    assert_eq!(
        body_of_html(page),
        "Sales\n| 2025 | 2026\nLamp | | 39.90\nChair | 120.00 | 110.00\nBye"
    );
}

#[test]
fn cells_with_paragraphs_stay_in_their_row() {
    let page = "<table border=1><tr><td><p>Item</p></td><td><p>Price</p></td></tr>\
        <tr><td><div>Lamp</div></td><td><p>39.90</p></td></tr></table><p>Bye</p>";
    assert_eq!(body_of_html(page), "Item | Price\nLamp | 39.90\n\nBye");
}

#[test]
fn a_table_of_presentation_may_have_header_cells() {
    let page = "<table role=presentation><tr><th><p>One</p></th><th><p>Two</p></th></tr></table>";
    assert_eq!(body_of_html(page), "One\n\nTwo");
}
