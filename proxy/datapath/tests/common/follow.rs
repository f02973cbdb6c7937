//! A stream of requests followed as a connection follows it. Shared with the fuzz target of the same.

use hotspare_datapath::framing::{Body, request_head};

/// Takes a stream part by part; returns what was decided, and where it ended.
pub fn requests<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut decisions, mut input, mut body) = (Vec::new(), Vec::new(), None::<Body>);
    for part in parts {
        input.extend_from_slice(part);
        loop {
            if let Some(current) = body.as_mut() {
                match current.advance(&input) {
                    Ok(used) => drop(input.drain(..used)),
                    Err(bad) => {
                        decisions.push(format!("{bad:?} in a body"));
                        return decisions;
                    }
                }
                if !current.is_over() {
                    break;
                }
                decisions.push("end of a body".to_owned());
                body = None;
            }
            match request_head(&input) {
                Ok(None) => break,
                Ok(Some(head)) => {
                    decisions.push(format!("{head:?}"));
                    input.drain(..head.length);
                    body = Some(head.body);
                }
                Err(bad) => {
                    decisions.push(format!("{bad:?} in a head"));
                    return decisions;
                }
            }
        }
    }
    decisions
}
