//! Tables drawn with lines, and blocks of lines `Title: value`.
#![forbid(unsafe_code)]

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use comfy_table::{ContentLineStyle, LineStyle, TableStyle};
use serde_json::Value;

use super::text::Field;

const LINES: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('┌', '─', '┬', '┐'))
    .header_lines(ContentLineStyle::new('│', '│', '│'))
    .header_separator(LineStyle::new('├', '─', '┼', '┤'))
    .content_lines(ContentLineStyle::new('│', '│', '│'))
    .bottom_border(LineStyle::new('└', '─', '┴', '┘'));

/// Blanks on both sides of a cell.
const PADDING: u16 = 2;

/// A table of objects, a row each. `least` are widths below which a column does not fall.
pub(super) fn of_objects(objects: &[Value], fields: &[Field], least: &[u16]) -> String {
    let rows = objects.iter().map(|object| {
        fields.iter().map(|field| field.of(object).unwrap_or_else(|| "-".to_owned())).collect()
    });
    let titles: Vec<&str> = fields.iter().map(|field| field.title).collect();
    of_rows(&titles, rows.collect(), least)
}

/// A table of one object: names and values.
pub(super) fn of_object(object: &Value, fields: &[Field]) -> String {
    let rows = fields.iter().filter_map(|field| Some(vec![field.title.to_owned(), field.of(object)?]));
    of_rows(&["Name", "Value"], rows.collect(), &[])
}

/// A table of texts.
pub(super) fn of_rows(titles: &[&str], rows: Vec<Vec<String>>, least: &[u16]) -> String {
    let mut table = Table::new();
    table.load_style(LINES).set_content_arrangement(ContentArrangement::Disabled).set_header(titles.to_vec());
    table.add_rows(rows);
    let widths = least.iter().map(|width| ColumnConstraint::LowerBoundary(Width::Fixed(width + PADDING)));
    table.set_constraints(widths);
    format!("{table}\n")
}

/// Lines `Title: value`, indented; what is empty is a dash.
pub(super) fn block(object: &Value, fields: &[Field], indent: usize) -> String {
    let lines = fields.iter().filter_map(|field| Some((field.title, field.of(object)?)));
    let shown = |value: String| if value.is_empty() { "-".to_owned() } else { value };
    lines.map(|(title, value)| format!("{:indent$}{title}: {}\n", "", shown(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::text::plain;
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_grow_with_their_content_and_keep_their_least_width() {
        let fields = [plain("ID", "id"), plain("Host", "host")];
        let objects =
            [json!({ "id": 0, "host": "a" }), json!({ "id": 1, "host": "a-longer-name" }), json!({})];
        let expected = "\
┌────┬───────────────┐
│ ID │ Host          │
├────┼───────────────┤
│ 0  │ a             │
│ 1  │ a-longer-name │
│ -  │ -             │
└────┴───────────────┘
";
        assert_eq!(of_objects(&objects, &fields, &[2, 6]), expected);
        let wide = of_objects(&objects[..1], &fields, &[2, 6]);
        assert!(wide.starts_with("┌────┬────────┐\n"), "{wide}");
        let none = of_objects(&[], &fields, &[]);
        assert_eq!(none.lines().count(), 4, "{none}");
    }

    #[test]
    fn blocks_leave_out_what_is_not_told() {
        let fields = [plain("A", "a"), plain("B", "b")];
        assert_eq!(block(&json!({ "a": 1 }), &fields, 2), "  A: 1\n");
        assert_eq!(block(&json!({ "a": "" }), &fields, 0), "A: -\n");
        let table = of_object(&json!({ "a": 1 }), &fields);
        assert!(table.contains("│ A    │ 1     │") && !table.contains("│ B"), "{table}");
    }
}
