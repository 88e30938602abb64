//! Reads an invitation (iCalendar, <https://www.rfc-editor.org/rfc/rfc5545>) into lines for a person.
//!
//! Written by hand: of the format, this needs the lines, their parameters and their escapes. The libraries that read
//! the whole of it bring time zones and recurrence with them, several times the size of this function.

use std::borrow::Cow;
use std::fmt::Write as _;

use nbhd::domain::visible::visible_line;

/// The most events of one invitation that are read.
const MAX_EVENTS: usize = 10;

/// Components within components deeper than this are ignored; an alarm in an event in a calendar is at three.
const MAX_DEPTH: usize = 8;

/// The most characters of a value other than a description.
const MAX_VALUE: usize = 1_000;

/// What an invitation says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Invitation {
    /// A line for each thing that is known, and an empty one between two events.
    pub(crate) text: String,
    /// Whether it has more events.
    pub(crate) is_cut: bool,
}

/// Reads the events of a calendar; `None` if it has none. `method` is what the part's header says it is for.
pub(crate) fn read(calendar: &str, method: Option<&str>) -> Option<Invitation> {
    let mut method = method.map(str::to_owned);
    let mut events: Vec<Event> = Vec::new();
    let mut open: Vec<String> = Vec::new();
    for line in unfold(calendar) {
        let Some(line) = ContentLine::parse(&line) else { continue };
        match (line.name.as_str(), open.last().map(String::as_str)) {
            ("BEGIN", _) => {
                let component = line.value.trim().to_ascii_uppercase();
                events.extend(is_event(&component).then(Event::default));
                if open.len() < MAX_DEPTH {
                    open.push(component);
                }
            }
            ("END", _) => {
                let component = line.value.trim().to_ascii_uppercase();
                if let Some(index) = open.iter().rposition(|name| *name == component) {
                    open.truncate(index);
                }
            }
            ("METHOD", Some("VCALENDAR")) => method = Some(line.text()),
            (_, Some(component)) if is_event(component) => {
                if let Some(event) = events.last_mut() {
                    event.add(&line);
                }
            }
            _ => {}
        }
        if events.len() > MAX_EVENTS {
            events.pop();
            return Some(Invitation { text: write(&events, method.as_deref()), is_cut: true });
        }
    }
    (!events.is_empty()).then(|| Invitation { text: write(&events, method.as_deref()), is_cut: false })
}

/// What is known of an event, as it is shown.
#[derive(Debug, Default)]
struct Event {
    summary: Option<String>,
    start: Option<String>,
    end: Option<String>,
    duration: Option<String>,
    repetition: Option<String>,
    place: Option<String>,
    organiser: Option<String>,
    status: Option<String>,
    description: Option<String>,
    /// Who is invited, with the answer that each gave.
    attendees: Vec<String>,
}

fn is_event(component: &str) -> bool {
    matches!(component, "VEVENT" | "VTODO" | "VJOURNAL")
}

impl Event {
    fn add(&mut self, line: &ContentLine) {
        let (field, value) = match line.name.as_str() {
            "SUMMARY" => (&mut self.summary, line.text()),
            "DTSTART" => (&mut self.start, line.moment(false)),
            "DTEND" => (&mut self.end, line.moment(true)),
            "DUE" => (&mut self.end, line.moment(false)),
            "DURATION" => (&mut self.duration, line.text()),
            "RRULE" => (&mut self.repetition, line.text()),
            "LOCATION" => (&mut self.place, line.text()),
            "ORGANIZER" => (&mut self.organiser, line.person()),
            "STATUS" => (&mut self.status, line.text()),
            "DESCRIPTION" => (&mut self.description, line.value.replace("\r\n", "\n")),
            "ATTENDEE" if self.attendees.len() < MAX_EVENTS => {
                let answer = line.parameter("PARTSTAT").map(|answer| format!(": {}", one_line(answer)));
                self.attendees.push(format!("{}{}", line.person(), answer.unwrap_or_default()));
                return;
            }
            _ => return,
        };
        if field.is_none() && !value.trim().is_empty() {
            *field = Some(value);
        }
    }

    fn write(&self, text: &mut String, method: Option<&str>) {
        // Only an answer names one attendee, whose answer it is.
        let is_reply = method.is_some_and(|method| method.eq_ignore_ascii_case("REPLY"));
        let reply = is_reply.then(|| self.attendees.join(", "));
        for (name, value) in [
            ("Summary", self.summary.as_deref()),
            ("Start", self.start.as_deref()),
            ("End", self.end.as_deref()),
            ("Duration", self.duration.as_deref()),
            ("Repeats", self.repetition.as_deref()),
            ("Place", self.place.as_deref()),
            ("Organiser", self.organiser.as_deref()),
            ("Status", self.status.as_deref()),
            ("Answer", reply.as_deref()),
            ("Method", method),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                let _ = writeln!(text, "{name}: {value}");
            }
        }
        if let Some(description) = &self.description {
            let _ = writeln!(text, "\n{}", description.trim());
        }
    }
}

fn write(events: &[Event], method: Option<&str>) -> String {
    let method = method.map(one_line);
    let mut text = String::new();
    for event in events {
        if !text.is_empty() {
            text.push('\n');
        }
        event.write(&mut text, method.as_deref());
    }
    text
}

/// A name, its parameters and a value, without escapes.
struct ContentLine {
    name: String,
    parameters: Vec<(String, String)>,
    value: String,
}

impl ContentLine {
    fn parse(line: &str) -> Option<Self> {
        let mut quoted = false;
        let mut ends = Vec::new();
        let mut value_at = None;
        for (at, byte) in line.bytes().enumerate() {
            match byte {
                b'"' => quoted = !quoted,
                b';' if !quoted => ends.push(at),
                b':' if !quoted => {
                    value_at = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let value_at = value_at?;
        ends.push(value_at);
        let mut parts =
            std::iter::once(0).chain(ends.iter().map(|end| end + 1)).zip(&ends).map(|(from, to)| &line[from..*to]);
        let name = parts.next()?.trim().to_ascii_uppercase();
        let parameters = parts
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (name.trim().to_ascii_uppercase(), unquote(value)))
            .collect();
        Some(Self { name, parameters, value: unescape(&line[value_at + 1..]) })
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn text(&self) -> String {
        one_line(&self.value)
    }

    /// A name and an address, as far as they are known.
    fn person(&self) -> String {
        let value = one_line(&self.value);
        let scheme = value.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("mailto:"));
        let address = if scheme { &value[7..] } else { &value };
        match self.parameter("CN").map(one_line).filter(|name| !name.is_empty() && name != address) {
            Some(name) if address.is_empty() => name,
            Some(name) => format!("{name} <{address}>"),
            None => address.to_owned(),
        }
    }

    /// `2026-12-02 09:00` and its time zone, or a date alone; the text itself if it is neither. The end of a day is the
    /// day after it.
    fn moment(&self, is_end: bool) -> String {
        let value = one_line(&self.value);
        let digits = |from: usize, to: usize| {
            value.get(from..to).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let (Some(year), Some(month), Some(day)) = (digits(0, 4), digits(4, 6), digits(6, 8)) else { return value };
        let date = format!("{year}-{month}-{day}");
        let time = value.get(8..9).filter(|mark| *mark == "T").and_then(|_| digits(9, 11).zip(digits(11, 13)));
        let Some((hour, minute)) = time else {
            return if is_end { format!("before {date}") } else { date };
        };
        let zone = match self.parameter("TZID") {
            _ if value.ends_with('Z') => "UTC".to_owned(),
            Some(zone) => one_line(zone),
            None => "(no time zone)".to_owned(),
        };
        format!("{date} {hour}:{minute} {zone}")
    }
}

/// The content lines: a line that begins with a blank continues the one before it.
fn unfold(calendar: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let mut lines = calendar.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).peekable();
    std::iter::from_fn(move || {
        let mut line = Cow::Borrowed(lines.next()?);
        while let Some(continued) = lines.next_if(|next| next.starts_with([' ', '\t'])) {
            line.to_mut().push_str(&continued[1..]);
        }
        Some(line)
    })
}

/// A parameter's value without its quotes and its escapes (RFC 6868).
fn unquote(value: &str) -> String {
    value.trim().trim_matches('"').replace("^n", " ").replace("^'", "\"").replace("^^", "^")
}

fn unescape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n' | 'N') => text.push('\n'),
                Some(escaped) => text.push(escaped),
                None => {}
            },
            letter => text.push(letter),
        }
    }
    text
}

fn one_line(value: &str) -> String {
    visible_line(value).text.trim().chars().take(MAX_VALUE).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(calendar: &str) -> String {
        read(calendar, None).expect("an event").text
    }

    #[test]
    fn an_invitation_is_read_as_lines() {
        let calendar = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VTIMEZONE\r\nTZID:Europe/Rome\r\n\
            BEGIN:STANDARD\r\nDTSTART:19701025T030000\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\n\
            SUMMARY;LANGUAGE=en:Harvest\\, part one\\; a very long na\r\n me\r\n\
            DTSTART;TZID=Europe/Rome:20270110T143000\r\n\
            DTEND;TZID=\"Europe/Rome\":20270110T160000\r\nLOCATION:Barn\\nleft door\r\n\
            ORGANIZER;CN=\"Neri; Ugo: farm\":MAILTO:ugo@example.org\r\nATTENDEE;CN=Pia:mailto:pia@example.org\r\n\
            BEGIN:VALARM\r\nDESCRIPTION:Reminder\r\nSUMMARY:Alarm\r\nEND:VALARM\r\n\
            DESCRIPTION:Bring boots.\\nAnd gloves.\r\nRRULE:FREQ=WEEKLY;COUNT=3\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
        assert_eq!(
            text(calendar),
            "Summary: Harvest, part one; a very long name\nStart: 2027-01-10 14:30 Europe/Rome\n\
             End: 2027-01-10 16:00 Europe/Rome\nRepeats: FREQ=WEEKLY;COUNT=3\nPlace: Barn left door\n\
             Organiser: Neri; Ugo: farm <ugo@example.org>\nMethod: REQUEST\n\nBring boots.\nAnd gloves.\n"
        );
        assert_eq!(text(&calendar.replace("\r\n", "\n")), text(calendar));
    }

    #[test]
    fn whole_days_utc_and_floating_times_are_told_apart() {
        let event = |lines: &str| text(&format!("BEGIN:VEVENT\n{lines}\nEND:VEVENT"));
        assert_eq!(
            event("DTSTART;VALUE=DATE:20270301\nDTEND;VALUE=DATE:20270303"),
            "Start: 2027-03-01\nEnd: before 2027-03-03\n"
        );
        assert_eq!(event("DTSTART:20270301T070000Z\nDURATION:PT45M"), "Start: 2027-03-01 07:00 UTC\nDuration: PT45M\n");
        assert_eq!(event("dtstart:20270301T070000"), "Start: 2027-03-01 07:00 (no time zone)\n");
        assert_eq!(event("DTSTART:tomorrow"), "Start: tomorrow\n");
    }

    #[test]
    fn a_cancellation_and_an_answer_say_so() {
        let calendar = "BEGIN:VCALENDAR\nMETHOD:REPLY\nBEGIN:VEVENT\nSUMMARY:Lunch\n\
            ATTENDEE;PARTSTAT=DECLINED;CN=Pia:mailto:pia@example.org\nEND:VEVENT\nEND:VCALENDAR";
        assert_eq!(text(calendar), "Summary: Lunch\nAnswer: Pia <pia@example.org>: DECLINED\nMethod: REPLY\n");
        let cancelled = calendar.replace("REPLY", "CANCEL").replace("ATTENDEE", "STATUS:CANCELLED\nATTENDEE");
        assert_eq!(text(&cancelled), "Summary: Lunch\nStatus: CANCELLED\nMethod: CANCEL\n");
        let headless = read("BEGIN:VEVENT\nSUMMARY:Tea\nEND:VEVENT", Some("cancel"));
        assert_eq!(headless.expect("an event").text, "Summary: Tea\nMethod: cancel\n");
    }

    #[test]
    fn many_events_are_cut_and_none_is_none() {
        let many = "BEGIN:VEVENT\nSUMMARY:One\nEND:VEVENT\n".repeat(MAX_EVENTS + 1);
        let read_many = read(&many, None).expect("events");
        assert_eq!((read_many.text.matches("One").count(), read_many.is_cut), (MAX_EVENTS, true));
        for calendar in
            ["", "hello", "BEGIN:VCALENDAR\nEND:VCALENDAR", "BEGIN:VFREEBUSY\nDTSTART:20270301\nEND:VFREEBUSY"]
        {
            assert_eq!(read(calendar, None), None, "{calendar}");
        }
    }

    #[test]
    fn values_are_one_visible_line() {
        let event = text("BEGIN:VEVENT\nSUMMARY:a\\n\\nStart: never\u{202e}\u{200b}\nLOCATION:\u{e0041}\nEND:VEVENT");
        assert_eq!(event, "Summary: a Start: never\n");
    }

    proptest! {
        #[test]
        fn nothing_panics(lines in prop::collection::vec(prop_oneof![
            any::<String>(),
            "(BEGIN|END):(VEVENT|VALARM|VCALENDAR)",
            "(DTSTART|DTEND|SUMMARY|ATTENDEE|ORGANIZER)(;[A-Z]{1,4}=\"?[a-z:;]{0,4}\"?){0,2}:[0-9TZé\\\\]{0,18}",
        ], 0..40)) {
            read(&lines.join("\r\n"), None);
        }
    }
}
