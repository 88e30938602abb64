//! What SQS refuses of a message.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>

use serde_json::Value;

use super::queue::{Outgoing, Refusal};

/// The most bytes of a message, its attributes included, and of a batch.
pub const MAX_BYTES: usize = 1 << 20;
/// The most characters of a group or deduplication id.
const MAX_ID: usize = 128;
/// The longest delay of a message, in seconds.
const MAX_DELAY: u64 = 900;

/// Bytes of a message that count against [`MAX_BYTES`].
pub(super) fn size(message: &Outgoing) -> usize {
    let text = |value: &Value| value.as_str().map_or(0, str::len);
    let attribute =
        |(name, value): (&String, &Value)| name.len() + text(&value["DataType"]) + text(&value["StringValue"]);
    let attributes: usize = message.attributes.as_object().into_iter().flatten().map(attribute).sum();
    message.body.len() + attributes
}

/// Refuses what SQS refuses.
pub(super) fn check(message: &Outgoing, fifo: bool) -> Result<(), Refusal> {
    let invalid = |text: &str| Refusal::new("InvalidParameterValue", text);
    if message.body.is_empty() {
        return Err(Refusal::new("MissingParameter", "The request must contain the parameter MessageBody."));
    }
    if size(message) > MAX_BYTES {
        return Err(invalid("One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes."));
    }
    if let Some(refused) = message.body.chars().find(|character| !is_taken(*character)) {
        let text = format!("Invalid binary character '#x{:X}' was found in the message body.", u32::from(refused));
        return Err(Refusal::new("InvalidMessageContents", text));
    }
    if !fifo {
        let delay = message.delay.as_secs() <= MAX_DELAY;
        return delay.then_some(()).ok_or_else(|| invalid("DelaySeconds must be between 0 and 900."));
    }
    if !message.delay.is_zero() {
        return Err(invalid("The request include parameter that is not valid for this queue type: DelaySeconds."));
    }
    check_id("MessageGroupId", message.group.as_deref())?;
    check_id("MessageDeduplicationId", message.deduplication.as_deref())
}

/// FIFO ids are 1 to 128 letters, digits and ASCII punctuation.
fn check_id(name: &str, id: Option<&str>) -> Result<(), Refusal> {
    let Some(id) = id else {
        return Err(Refusal::new("MissingParameter", format!("The request must contain the parameter {name}.")));
    };
    let valid = (1..=MAX_ID).contains(&id.len()) && id.chars().all(|character| character.is_ascii_graphic());
    let refusal = || {
        Refusal::new(
            "InvalidParameterValue",
            format!("{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."),
        )
    };
    valid.then_some(()).ok_or_else(refusal)
}

/// The characters of XML 1.0, which are what SQS takes.
fn is_taken(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}
