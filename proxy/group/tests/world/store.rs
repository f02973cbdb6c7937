//! The simulated store: one object, linearizable; everything that makes it hard happens on the way to it and back.

use std::sync::Arc;

use hotspare_group::{Answer, Document, Request, Revision};

#[derive(Default)]
pub struct Store {
    revision: u64,
    object: Option<(u64, Arc<Document>)>,
    /// How many writes were done.
    pub writes: u64,
}

impl Store {
    pub fn document(&self) -> Option<&Arc<Document>> {
        self.object.as_ref().map(|(_, document)| document)
    }

    pub fn delete(&mut self) {
        self.object = None;
    }

    pub fn serve(&mut self, request: &Request) -> Answer {
        match (request, &self.object) {
            (Request::Get, Some((revision, document))) => Answer::Found(name(*revision), document.clone()),
            (Request::Get, None) => Answer::Missing,
            (Request::Create(document), None) => self.write(document),
            (Request::CompareAndSet(at, document), Some((revision, _))) if *at == name(*revision) => {
                self.write(document)
            }
            _ => Answer::Conflict,
        }
    }

    fn write(&mut self, document: &Arc<Document>) -> Answer {
        self.revision += 1;
        self.writes += 1;
        self.object = Some((self.revision, document.clone()));
        Answer::Written(name(self.revision))
    }
}

fn name(revision: u64) -> Revision {
    Revision(revision.to_string())
}
