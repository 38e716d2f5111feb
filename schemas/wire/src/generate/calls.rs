//! Ids of calls. Older models know none: a call gets one of its number and name, and a result that of the first open call of its name.

use std::collections::{HashMap, VecDeque};

use crate::neutral::Text;

/// The maximum length of an id in bytes, which OpenAI takes.
const ID_BYTES_MAX: usize = 64;
/// The number of bytes of an answer's id that make the ids of its calls unique in a conversation.
const TAIL_BYTES: usize = 8;

/// The calls so far.
#[derive(Debug, Default)]
pub struct Calls {
    count: usize,
    /// The end of the answer's id; empty in a request.
    tail: String,
    /// The ids of calls without a result, by name.
    open: HashMap<String, VecDeque<String>>,
}

impl Calls {
    /// Sets the id of the answer that holds the calls.
    pub fn answer(&mut self, id: Option<&str>) {
        let id = id.unwrap_or_default();
        let letters: Vec<char> = id.chars().rev().filter(char::is_ascii_alphanumeric).take(TAIL_BYTES).collect();
        self.tail = letters.into_iter().rev().collect();
    }

    /// Starts a turn of the model: results refer to its calls only.
    pub fn turn(&mut self) {
        self.open.clear();
    }

    /// Returns the id of the next call.
    pub fn call<'a>(&mut self, id: Option<Text<'a>>, name: &str) -> Text<'a> {
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| self.made(name).into());
        self.count += 1;
        self.open.entry(name.to_owned()).or_default().push_back(id.clone().into_owned());
        id
    }

    /// Returns the id of the call that a result belongs to.
    pub fn result<'a>(&mut self, id: Option<Text<'a>>, name: &str) -> Text<'a> {
        let open = self.open.get_mut(name);
        match id.filter(|id| !id.is_empty()) {
            Some(id) => {
                if let Some(open) = open.filter(|open| open.front().is_some_and(|first| *first == id)) {
                    open.pop_front();
                }
                id
            }
            None => open.and_then(VecDeque::pop_front).unwrap_or_else(|| self.made(name)).into(),
        }
    }

    fn made(&self, name: &str) -> String {
        let mut id = made(self.count, name);
        if !self.tail.is_empty() {
            id.truncate(ID_BYTES_MAX - TAIL_BYTES - 1);
            id.push('_');
            id.push_str(&self.tail);
        }
        id
    }
}

/// Returns the id of a call without one: its number in the conversation and its name, in letters that every vendor takes.
pub fn made(index: usize, name: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
    let mut id = format!("call_{index}_");
    id.extend(name.chars().map(letter));
    id.truncate(ID_BYTES_MAX);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_find_their_calls_by_order_and_name() {
        let mut calls = Calls::default();
        assert_eq!(calls.call(None, "f.x"), "call_0_f_x");
        assert_eq!(calls.call(Some("own".into()), "g"), "own");
        assert_eq!(calls.call(None, "f.x"), "call_2_f_x");
        assert_eq!(calls.result(None, "g"), "own");
        assert_eq!(calls.result(None, "f.x"), "call_0_f_x");
        assert_eq!(calls.result(Some("call_2_f_x".into()), "f.x"), "call_2_f_x");
        assert_eq!(calls.result(None, "f.x"), "call_3_f_x", "no call is left");
        calls.turn();
        assert_eq!(calls.call(None, "f.x"), "call_3_f_x");
    }

    #[test]
    fn ids_of_an_answer_are_its_own_and_never_too_long() {
        let mut calls = Calls::default();
        calls.answer(Some("mAitaLmkHPPlz7IPvtfUqQ4"));
        assert_eq!(calls.call(None, "f"), "call_0_f_PvtfUqQ4");
        assert_eq!(calls.call(None, &"n".repeat(200)).len(), ID_BYTES_MAX);
        assert_eq!(made(0, &"n".repeat(200)).len(), ID_BYTES_MAX);
    }
}
