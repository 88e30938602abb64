//! Telegram's contract as a source of calls: what each parameter may hold, and what of it names someone.

use nbhd_sim::contracts;
use serde_json::{Map, Value, json};
use telegram_relay::rules::{Method, Rule};

/// The contract's methods and types.
pub(super) struct Api(Value);

/// A parameter of a method or a field of a type.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) types: Vec<&'a str>,
    pub(super) required: bool,
}

impl Api {
    /// The contract, unless it is absent on this machine.
    pub(super) fn load() -> Option<Self> {
        let text = std::fs::read(contracts::dir()?.join("telegram/api.json")).expect("readable");
        Some(Self(serde_json::from_slice(&text).expect("JSON")))
    }

    pub(super) fn methods(&self) -> impl Iterator<Item = &str> {
        self.0["methods"].as_object().expect("an object").keys().map(String::as_str)
    }

    pub(super) fn parameters(&self, method: &str) -> Vec<Field<'_>> {
        fields(&self.0["methods"][method])
    }

    /// The fields of all these types and of their subtypes, each name once.
    pub(super) fn fields_of_any(&self, types: &[&str]) -> Vec<Field<'_>> {
        let mut all: Vec<Field> = Vec::new();
        for field in types.iter().flat_map(|name| self.structures(name)).flat_map(fields) {
            if !all.iter().any(|known| known.name == field.name) {
                all.push(field);
            }
        }
        all
    }

    /// The type itself, or its subtypes.
    fn structures(&self, name: &str) -> Vec<&Value> {
        let known = &self.0["types"][name];
        let subtypes = strings(&known["subtypes"]);
        if subtypes.is_empty() {
            vec![known]
        } else {
            subtypes.into_iter().map(|name| &self.0["types"][name]).collect()
        }
    }

    /// A call of `method` with what it needs at least, and the message meant where one can be.
    pub(super) fn required(&self, method: &Method, chat: i64) -> Value {
        let mut call = Map::new();
        for field in self.parameters(method.name) {
            let (_, rule) = method.parameters().find(|(name, _)| *name == field.name).expect("every one has a rule");
            if (field.required || ["chat_id", "message_id"].contains(&field.name))
                && let Some(sample) = samples(self, &field.types, rule, chat).into_iter().next()
            {
                call.insert(field.name.to_owned(), sample);
            }
        }
        Value::Object(call)
    }
}

/// Whether what it holds means a chat, a person, or a message in any chat.
pub(super) fn names_someone(field: &Field) -> bool {
    const OTHERS: [&str; 4] =
        ["business_connection_id", "inline_message_id", "direct_messages_topic_id", "callback_game"];
    field.name.ends_with("chat_id")
        || field.name.ends_with("user_id")
        || OTHERS.contains(&field.name)
        || field.types.iter().any(|name| ["User", "Chat"].contains(&name.trim_start_matches("Array of ")))
}

/// Values of each of `types` that `rule` accepts: objects with every field it does not refuse.
pub(super) fn samples(api: &Api, types: &[&str], rule: &Rule, chat: i64) -> Vec<Value> {
    match rule {
        Rule::Refused(_) | Rule::Dropped(_) => Vec::new(),
        Rule::OwnChat => vec![json!(chat), json!(chat.to_string())],
        Rule::Integer => vec![json!(1)],
        Rule::Float => vec![json!(1.5)],
        Rule::Boolean => vec![json!(true), json!(false)],
        Rule::Text => vec![json!("x")],
        Rule::ParseMode => ["HTML", "MarkdownV2", "Markdown"].map(Value::from).to_vec(),
        Rule::Url => vec![json!("https://example.com/a?b=c")],
        Rule::Media => vec![json!("AgACAgIAAxk_-1")],
        Rule::NoPreview => vec![json!({"is_disabled": false, "url": "https://example.com"}), json!("not an object")],
        Rule::List(of) => {
            let items: Vec<&str> = types.iter().filter_map(|name| name.strip_prefix("Array of ")).collect();
            samples(api, &items, of, chat).into_iter().map(|item| json!([item])).collect()
        }
        Rule::Object(rules) | Rule::Labelled(rules) => {
            let structures = types.iter().flat_map(|name| api.structures(name));
            structures
                .map(|structure| {
                    let given = fields(structure).into_iter().filter_map(|field| {
                        let (_, rule) = rules.iter().find(|(name, _)| *name == field.name)?;
                        let sample = samples(api, &field.types, rule, chat).into_iter().next()?;
                        Some((field.name.to_owned(), sample))
                    });
                    Value::Object(given.collect())
                })
                .collect()
        }
    }
}

fn fields(of: &Value) -> Vec<Field<'_>> {
    let fields = of["fields"].as_array().into_iter().flatten();
    fields
        .map(|field| Field {
            name: field["name"].as_str().unwrap_or_default(),
            types: strings(&field["types"]),
            required: field["required"] == true,
        })
        .collect()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
