//! The rules of a document's `<style>` elements that a tokenizer can apply.

use std::collections::HashMap;

use super::style::{Style, without_comments_and_escapes};

/// The most rules that are kept; mail has some hundreds, few of which hide or colour anything.
const MAX_RULES: usize = 5_000;

/// The most classes of an element that are looked up.
const MAX_CLASSES: usize = 20;

/// Rules by their selector: `p`, `.class`, `p.class`, `#id` or `p#id`, each in lower case.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    rules: HashMap<String, Style>,
    /// Whether other selectors, which are not understood, say what is behind a text.
    pub(super) has_other_backgrounds: bool,
}

impl Sheet {
    /// Reads every `<style>` of a document, wherever it stands: a rule also holds for what stands before it.
    pub(super) fn from_html(html: &str) -> Self {
        let mut sheet = Self::default();
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            rest = &rest[at + 1..];
            if let Some(comment) = rest.strip_prefix("!--") {
                rest = comment.split_once("-->").map_or("", |(_, after)| after);
            } else if let Some(element) = strip_name(rest, "style") {
                let (attributes, content) = element.split_once('>').unwrap_or_default();
                let (rules, after) = content.split_at(find_end_tag(content));
                if !is_for_other_media(attributes) {
                    sheet.add_rules(rules);
                }
                rest = after;
            }
        }
        sheet
    }

    /// What the rules say of an element, the least specific first.
    pub(super) fn style_of(&self, name: &str, classes: &str, id: &str) -> Style {
        let mut style = Style::default();
        if self.rules.is_empty() {
            return style;
        }
        let mut selector = String::new();
        let mut add = |parts: [&str; 3]| {
            selector.clear();
            selector.extend(parts);
            selector.make_ascii_lowercase();
            if let Some(found) = self.rules.get(&selector) {
                style.merge(found);
            }
        };
        add(["*", "", ""]);
        add([name, "", ""]);
        for element in ["", name] {
            classes.split_ascii_whitespace().take(MAX_CLASSES).for_each(|class| add([element, ".", class]));
        }
        if !id.is_empty() {
            add(["", "#", id]);
            add([name, "#", id]);
        }
        style
    }

    /// Adds rules that hold everywhere. What stands in an `@media` holds on some screens only.
    fn add_rules(&mut self, css: &str) {
        let css = without_comments_and_escapes(css);
        let mut rest = &*css;
        while let Some(at) = rest.find(['{', ';', '@', '}']) {
            let (before, after) = rest.split_at(at);
            rest = match after.as_bytes()[0] {
                b'{' => {
                    let end = after.find('}').unwrap_or(after.len());
                    self.add_rule(before, &after[1..end]);
                    after.get(end + 1..).unwrap_or_default()
                }
                b'@' => skip_at_rule(after),
                _ => &after[1..],
            };
        }
    }

    fn add_rule(&mut self, selectors: &str, declarations: &str) {
        let style = Style::parse(declarations);
        if style.is_empty() {
            return;
        }
        // The marks by which a sheet was once hidden from old browsers.
        let selectors = selectors.replace("<!--", " ").replace("-->", " ");
        for selector in selectors.split(',').map(|selector| selector.trim().to_ascii_lowercase()) {
            if !is_simple(&selector) {
                self.has_other_backgrounds |= style.declares_background();
            } else if self.rules.len() < MAX_RULES {
                self.rules.entry(selector).or_default().merge(&style);
            }
        }
    }
}

/// Whether a selector is `*`, a name, a class or an id, or a name with one of these.
fn is_simple(selector: &str) -> bool {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || byte > 0x7f)
    };
    match selector.split_once(['.', '#']) {
        Some((element, name)) => (element.is_empty() || is_name(element)) && is_name(name),
        None => is_name(selector) || selector == "*",
    }
}

/// Whether a `<style>` with these attributes holds on paper or on screens of some size only.
fn is_for_other_media(attributes: &str) -> bool {
    let attributes = attributes.to_ascii_lowercase();
    attributes.contains("media") && (attributes.contains('(') || attributes.contains("print"))
}

/// What follows an at-rule: its semicolon, or its block with all blocks in it.
fn skip_at_rule(css: &str) -> &str {
    let Some(at) = css.find([';', '{']) else { return "" };
    if css.as_bytes()[at] == b';' {
        return &css[at + 1..];
    }
    let mut depth = 0_usize;
    let end = css.bytes().position(|byte| {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        byte == b'}' && depth == 0
    });
    end.map_or("", |end| &css[end + 1..])
}

/// What follows a tag's name, in whatever case; `None` for another tag.
fn strip_name<'h>(tag: &'h str, name: &str) -> Option<&'h str> {
    let (start, rest) = tag.split_at_checked(name.len())?;
    let ends = rest.starts_with(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/'));
    (ends && start.eq_ignore_ascii_case(name)).then_some(rest)
}

/// Where the element's own end tag begins, or the text ends.
fn find_end_tag(content: &str) -> usize {
    content
        .match_indices("</")
        .map(|(at, _)| at)
        .find(|at| strip_name(&content[at + 2..], "style").is_some())
        .unwrap_or(content.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hides(html: &str, name: &str, classes: &str, id: &str) -> bool {
        Sheet::from_html(html).style_of(name, classes, id).removes()
    }

    #[test]
    fn simple_rules_hold_for_their_elements() {
        let html = "<p>x<STYLE type=text/css>@import 'x'; p{color:red} <!-- /* .b{} */ .Pre, td.pre2 , #Id ,span#x\
            {Display:none} --></STYLE>";
        for (name, classes, id) in
            [("div", "a pre b", ""), ("DIV", "PRE", ""), ("td", "pre2", ""), ("p", "", "id"), ("span", "", "x")]
        {
            assert!(hides(html, name, classes, id), "{name} {classes} {id}");
        }
        for (name, classes, id) in [("p", "", ""), ("div", "pre2", ""), ("p", "", "x"), ("p", "prefix", "")] {
            assert!(!hides(html, name, classes, id), "{name} {classes} {id}");
        }
    }

    #[test]
    fn rules_that_hold_only_sometimes_are_not_applied() {
        for css in [
            "@media (max-width:600px){.a{display:none}.b{}}",
            "@media print{@page{x:y}.a{display:none}} .c{}",
            ".x .a{display:none}",
            ".a:hover{display:none}",
            ".a.b{display:none}",
            "div>.a{display:none}",
            "/* .a{display:none} */",
            ".a{display:none}.a{display:block}",
            ".a",
            ".a{",
            "@media",
        ] {
            assert!(!hides(&format!("<style>{css}</style>"), "div", "a", ""), "{css}");
        }
        assert!(!hides("<style media='screen and (max-width:9px)'>.a{display:none}</style>", "div", "a", ""));
        assert!(!hides("<!--[if mso]><style>.a{display:none}</style><![endif]-->", "div", "a", ""));
        assert!(hides("<style>@media print{.b{color:red}}.a{display:none}</style>", "div", "a", ""));
        assert!(hides("<style>.a{display:none", "div", "a", ""));
    }

    #[test]
    fn the_more_specific_rule_outranks() {
        let html = "<style>#i{display:block}.a{display:none}p{display:block}.b{display:none!important}</style>";
        assert!(!hides(html, "p", "a", "i"));
        assert!(hides(html, "p", "a", ""));
        assert!(hides(html, "p", "b", "i"));
    }

    #[test]
    fn backgrounds_of_other_selectors_are_noted() {
        for (css, noted) in [
            (".a .b{background:#000}", true),
            ("[bgcolor]{background-image:url(x)}", true),
            (".a .b{color:red}", false),
            (".a{background:#000}", false),
        ] {
            assert_eq!(Sheet::from_html(&format!("<style>{css}</style>")).has_other_backgrounds, noted, "{css}");
        }
    }
}
