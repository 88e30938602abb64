use proptest::prelude::*;

use super::*;

fn to_text(html: &str) -> String {
    read(html, usize::MAX).text
}

#[test]
fn a_mail_reads_as_a_person_would_read_it() {
    let html = "<title>hidden</title><style>p{content:hidden}</style><h1>Invoice</h1><p>Dear&nbsp;<b>Ada</b>,<br>\
        see <a href='https://x.test/1?a=1&amp;b=2'>this</a> <a href='javascript:x'>or</a> 1 &lt; 2\
        <table><tr><td>Total<td>5 €</table><ul><li>one<li>two</ul><blockquote>old</blockquote><img alt='a logo'>";
    let text = to_text(html);
    for line in [
        "# Invoice",
        "Dear\u{a0}Ada,",
        "see [this][1] or 1 < 2",
        "Total",
        "5 €",
        "* one",
        "> old",
        "a logo",
        "[1]: https://x.test/1?a=1&b=2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} in {text:?}");
    }
    assert!(!text.contains("hidden") && !text.contains("javascript"), "{text}");
}

#[test]
fn entities_are_read() {
    assert_eq!(to_text("Tom &amp; Ann&#39;s &lt;b&gt; 5 € &quot;ok&quot;"), "Tom & Ann's <b> 5 € \"ok\"");
}

#[test]
fn a_text_keeps_its_shape() {
    for (html, text) in [
        ("<p>a<p>b<br>c<br><br>d<div>e</div>", "a\n\nb\nc\n\nd\ne"),
        ("  a \n <b> b</b>c <i>d </i> e", "a bc d e"),
        ("<h3>One<br>two</h3>x", "### One\ntwo\n\nx"),
        ("a<hr>b", "a\n---\nb"),
        ("<ol><li>a<li>b<ul><li>c</ul><li>d</ol>e", "1. a\n2. b\n\n  * c\n\n3. d\n\ne"),
        ("<ul><li><p>a<p>b<li><blockquote>c</ul>d", "* a\n\n  b\n\n* > c\n\nd"),
        ("<blockquote>a<br>b<blockquote>c</blockquote>d</blockquote>e", "> a\n> b\n\n> > c\n\n> d\n\ne"),
        ("<pre>a\n  b\tc\n\nd</pre>e  f", "a\n  b\tc\n\nd\n\ne f"),
        (
            "<a href=http:x>a </a>b<a href=mailto:y><p>c</a><a href=http:z></a>",
            "[a][1] b\n\n[c][2]\n\n[1]: http:x\n[2]: mailto:y",
        ),
        ("<li>a</div></ul></h1></a></blockquote>b", "a\n\nb"),
    ] {
        assert_eq!(to_text(html), text, "{html}");
    }
}

#[test]
fn text_at_any_depth_is_kept() {
    let deep =
        ["div", "b", "table><tr><td", "ul><li", "blockquote", "a href=http:x><b><i", "dl><dd", "svg><td", "li><h1"];
    for tag in deep {
        let text = to_text(&format!("<p>first</p>{}last", format!("<{tag}>").repeat(10_000)));
        assert!(text.contains("first") && text.contains("last"), "{tag}");
    }
}

#[test]
fn what_costs_a_parser_most_costs_little() {
    let fonts: String = (0..10_000).map(|i| format!("<font a={i}><p>x")).collect();
    assert_eq!(to_text(&fonts).matches('x').count(), 10_000);
    let cells = "<td colspan=4294967295>x<td rowspan=4000000>y".repeat(1_000);
    let text = to_text(&format!("<table><tr>{cells}</table>"));
    assert_eq!(text.matches('x').count(), 1_000);
    assert!(text.len() < 20_000);
}

proptest! {
    #[test]
    fn nothing_panics_or_outgrows_its_source(
        pieces in prop::collection::vec(
            prop_oneof![
                any::<String>(),
                prop::sample::select(vec![
                    "<table>", "<tr>", "<td colspan=9>", "<td rowspan=0>", "</td>", "</table>", "<ol start=-9>",
                    "<li>",
                    "<pre>", "\u{1}\u{7f}\u{ad}", "<blockquote>", "<sup>", "<a href=http:x>", "<img alt='a b'>",
                    "<h1>",
                    "</p>", "<dl><dt>", "漢字🎉", "&#xD800;", "<hr>", "<br>", "<style>", "<!--", "<svg>", "<s>",
                    "<em>",
                    "</div>", "</title>", "<![CDATA[", "<title>",
                ]).prop_map(str::to_owned),
            ],
            0..60,
        ),
    ) {
        let html = pieces.concat();
        prop_assert!(to_text(&html).len() <= 4 * lines::MAX_DEPTH * (html.len() + 1));
    }
}

#[test]
fn what_a_person_cannot_see_is_left_out_and_reported() {
    for html in [
        "<div style=display:none>x<div>x</div>x</div>seen",
        "<div style='DISPLAY&colon; n&#111;ne'>x</div>seen",
        "<div style=\"d\\69splay/**/:none !important;display:block\">x</div>seen",
        "<p hidden>x<p>seen",
        "<td style='visibility:hidden'>x<td>seen",
        "<span style='font-size:0'>x<b style='font-size:1em'>x</b></span>seen",
        "<font color=white>x</font>seen",
        "<span style='color:#fff'>x</span>seen",
        "<table bgcolor='#EEEEEE'><tr><td style='color:rgb(238, 238, 238)'>x</table>seen",
        "<div style='max-height:0;overflow:hidden;mso-hide:all'>x</div>seen",
        "<span style='position:absolute;left:-9999px'>x</span>seen",
        "<div style='opacity:0'><a href=http:x>x</a></div>seen",
        "<template>x</template><noscript>x</noscript>seen",
        "<style>.Pre{display:none}</style><span class='a pre'>x</span>seen",
        "<span id=pre>x</span><style>span#pre{display:none}</style>seen",
        "<img style=display:none alt=x>seen",
        "<li style=display:none>x<li>seen",
        "<body style='color:white'>x<p style='color:black'>seen",
        "<div hidden><textarea></div></textarea>x</div>seen",
        "<div hidden/>x</div>seen",
        "<!-- <div> --><div hidden>x<!-- </div> -->x</div>seen",
    ] {
        let read = read(html, usize::MAX);
        assert_eq!(read.text.trim_start_matches("* "), "seen", "{html}");
        assert!(read.removed_hidden, "{html}");
    }
}

#[test]
fn what_a_person_sees_stays() {
    for html in [
        "<span aria-hidden=true>seen</span>",
        "<div style='visibility:hidden'><p style='visibility:visible'>seen</div>",
        "<div style='font-size:0'><div style='font-size:13px'>seen</div></div>",
        "<td bgcolor=#000><font color=#fff>seen</font></td>",
        "<td background=hero.png bgcolor=#fff><span style='color:#fff'>seen</span></td>",
        "<style>.hero td{background:#000}</style><td><span style='color:#fff'>seen</span></td>",
        "<style>body{background:#222;color:#eee}.c{color:#fff}</style><p class=c>seen",
        "<td style='font-size:0'><img alt=seen></td>",
        "<style>.b{background:#06c}</style><a class=b style='color:#fff'>seen</a>",
        "<style>@media (max-width:9px){.m{display:none}}</style><p class=m>seen",
        "<!--[if mso]><style>.m{display:none}</style><![endif]--><p class=m>seen",
        "<div style='display:none'> &zwnj;&nbsp;&#847;</div>seen",
        "<head><title>x</title><style>p{}</style>seen",
        "<input type=hidden value=x>seen",
        "<div style='width:600px;overflow:hidden'>seen</div>",
        "<a href=http:x style='color:#fff;background:#000'></a>seen",
        "<div style=\"font-family:'display:none'\">seen</div>",
    ] {
        let read = read(html, usize::MAX);
        assert_eq!((read.text.as_str(), read.removed_hidden), ("seen", false), "{html}");
    }
}

#[test]
fn a_link_is_given_where_a_person_can_follow_it() {
    let html = "<a href=' https://one.test/a'>one</a> <a href='HTTPS://two.test'>two</a> \
        <a href='//three.test/x'>3</a> \
        <a href='\n https://four.test/x\n'>four</a> <a href='tel:+491'>five</a> <a href='data:text/html,x'>six</a>";
    assert_eq!(
        to_text(html),
        "[one][1] [two][2] [3][3] [four][4] [five][5] six\n\n[1]: https://one.test/a\n[2]: https://two.test\n\
         [3]: https://three.test/x\n[4]: https://four.test/x\n[5]: tel:+491"
    );
    let long = format!("<a href='https://one.test/{}'>long</a>", "x".repeat(links::MAX_HREF));
    assert_eq!(to_text(&long), "[long][1]\n\n[1]: https://one.test");
    assert_eq!(to_text("<img src='data:image/png;base64,AAAA' alt='a chart'>"), "a chart");
}

#[test]
fn a_text_ends_soon_after_its_limit() {
    let html = "<p>word <i>".repeat(10_000);
    let cut = read(&html, 100);
    assert!(cut.is_cut && (100..130).contains(&cut.text.chars().filter(|c| c.is_alphabetic()).count()), "{}", cut.text);
    assert!(!read("<p>word</p><p hidden>x</p>", 4).is_cut);
    let padded = read(&format!("{}word", "&zwnj;".repeat(1_000)), 10);
    assert!(padded.text.ends_with("word") && !padded.is_cut);
}
