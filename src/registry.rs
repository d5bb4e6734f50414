//! Floor 4: who is connected here.
