use super::*;

#[test]
fn what_takes_an_element_out_of_sight_is_seen_in_every_spelling() {
    for css in [
        "display:none",
        " DISPLAY : None ; ",
        "color:red;display:none!important;display:block",
        "display:block;display:none",
        "display/* x */:/**/none",
        "d\\69splay:none",
        "\\000064isplay:n\\6f ne",
        "background:url(data:image/png;base64,x;y);display:none",
        "font-family:'a;b';display:none",
        "opacity:0",
        "opacity: 0.01",
        "opacity:0%",
        "mso-hide:all",
        "max-height:0;overflow:hidden",
        "height:0px;overflow:hidden",
        "width:0;overflow-x:hidden",
        "width:1px;height:1px;overflow:clip",
        "position:absolute;left:-9999px",
        "position:fixed;top:-1000em",
        "position:absolute;clip:rect(0,0,0,0)",
        "position:absolute;clip:rect(1px 1px 1px 1px)",
        "text-indent:-9999px",
        "margin-left:-99999pt",
    ] {
        assert!(Style::parse(css).removes(), "{css}");
    }
}

#[test]
fn what_only_resembles_it_hides_nothing() {
    for css in [
        "",
        "display:none;display:block",
        "display:block!important;display:none",
        "display:nonesuch",
        "x-display:none",
        "/* display:none */",
        "content:'display:none'",
        "content:';display:none;'",
        "max-height:0",
        "overflow:hidden",
        "height:0;overflow:visible",
        "height:100px;overflow:hidden",
        "width:100%;overflow:hidden",
        "left:-9999px",
        "position:relative;left:-9999px",
        "position:absolute;left:-10px",
        "text-indent:-20px",
        "opacity:0.5",
        "opacity:1",
        "mso-hide:none",
        "display:none;display:inherit;display:initial",
    ] {
        assert!(!Style::parse(css).removes(), "{css}");
    }
}

#[test]
fn a_size_that_nobody_can_read_is_seen() {
    for css in [
        "font-size:0",
        "font-size:0px",
        "font-size:0pt",
        "font-size:.5px",
        "font-size:0%",
        "font-size:0em",
        "font:0/0 a",
        "font:bold 1px/1px Arial",
        "FONT-SIZE:1PX",
    ] {
        assert_eq!(Style::parse(css).is_tiny(), Some(true), "{css}");
    }
    for css in [
        "font-size:9px",
        "font-size:1rem",
        "font-size:medium",
        "font:italic 700 12px/20px Arial",
        "font-size:calc(1px + 1em)",
    ] {
        assert_eq!(Style::parse(css).is_tiny(), Some(false), "{css}");
    }
    for css in ["font-size:1em", "font-size:80%", "font-size:inherit", "font:inherit", "font:bold", "line-height:0"] {
        assert_eq!(Style::parse(css).is_tiny(), None, "{css}");
    }
}

#[test]
fn colours_are_found_among_other_values() {
    let read = |css: &str| (Style::parse(css).color(), Style::parse(css).background());
    assert_eq!(read("color:#fff !important;color:red"), (Some(Color::WHITE), None));
    assert_eq!(read("background:#000 none no-repeat"), (None, Some(Color::BLACK)));
    assert_eq!(read("background:no-repeat"), (None, Some(Color::Unknown)));
    assert_eq!(read("background-color:white;background-image:url(x.png)"), (None, Some(Color::Unknown)));
    assert_eq!(read("background:white url(x.png)"), (None, Some(Color::Unknown)));
    assert_eq!(read("background:linear-gradient(white, white)"), (None, Some(Color::Unknown)));
    assert_eq!(read("background:transparent"), (None, None));
    assert_eq!(read("background:none"), (None, None));
    assert_eq!(read("position:absolute"), (None, Some(Color::Unknown)));
    assert_eq!(read("position:absolute;background:white"), (None, Some(Color::WHITE)));
}

#[test]
fn what_is_merged_later_outranks_unless_it_is_less_important() {
    let merged = |first: &str, second: &str| {
        let mut style = Style::parse(first);
        style.merge(&Style::parse(second));
        style
    };
    assert!(!merged("display:none", "display:block").removes());
    assert!(merged("display:none!important", "display:block").removes());
    assert!(!merged("display:none!important", "display:block!important").removes());
    assert!(merged("max-height:0", "overflow:hidden").removes());
    assert_eq!(merged("color:#fff!important", "color:#000").color(), Some(Color::WHITE));
    assert_eq!(merged("visibility:hidden", "visibility:visible").is_invisible(), Some(false));
}
