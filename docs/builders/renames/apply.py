#!/usr/bin/env python3
"""Applies the renames of renames.tsv to a checkout, one commit a room (see README.md).

    apply.py CHECKOUT [--table FILE] [--room ROOM ...] [--check] [--no-commit]

Everything is matched by whole identifiers of Rust tokens, within a scope. What is not there is reported and skipped, so
that the table survives changes on main.
"""
import argparse
import collections
import fnmatch
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TRACING = {"trace", "debug", "info", "warn", "error", "info_span", "debug_span", "warn_span", "error_span", "span", "event",
           "trace_span"}
FORMAT = TRACING | {"format", "print", "println", "eprint", "eprintln", "write", "writeln", "panic", "assert", "assert_eq",
                    "assert_ne", "debug_assert", "unreachable", "todo", "format_args", "log", "limited"}
OPEN, CLOSE = {"(": ")", "[": "]", "{": "}"}, {")": "(", "]": "[", "}": "{"}
IDENT = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
LEXER = re.compile(
    r"(?P<comment>//[^\n]*)"
    r"|(?P<block>/\*)"
    r'|(?P<raw>\b(?:b|c)?r(?P<hash>#*)")'
    r'|(?P<str>(?:\b[bc])?"(?:\\.|[^"\\])*")'
    r"|(?P<char>(?:\bb)?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^\\'])')"
    r"|(?P<life>'[A-Za-z_][A-Za-z_0-9]*)"
    r"|(?P<ident>(?:r#)?[A-Za-z_][A-Za-z_0-9]*)"
    r"|(?P<num>[0-9][A-Za-z_0-9]*)"
    r"|(?P<ws>\s+)"
    r"|(?P<path>::)"
    r"|(?P<arrow>=>|->)"
    r"|(?P<punct>.)", re.S)


class Token:
    __slots__ = ("kind", "text", "prev", "next", "stack", "owner", "func")

    def __init__(self, kind, text):
        self.kind, self.text = kind, text
        self.prev = self.next = None  # neighbours that are code
        self.stack = ()  # names of the enclosing delimiters, outermost first
        self.owner = None  # the type of the enclosing impl or trait block
        self.func = None  # the number of the enclosing function


def lex(source):
    tokens, at = [], 0
    while at < len(source):
        match = LEXER.match(source, at)
        kind, end = match.lastgroup, match.end()
        if kind == "block":
            depth, end = 1, at + 2
            while depth and end < len(source):
                if source.startswith("/*", end):
                    depth, end = depth + 1, end + 2
                elif source.startswith("*/", end):
                    depth, end = depth - 1, end + 2
                else:
                    end += 1
            kind = "comment"
        elif match.group("raw"):
            closing = '"' + match.group("hash")
            end = source.index(closing, match.end()) + len(closing)
            kind = "str"
        tokens.append(Token(kind, source[at:end]))
        at = end
    code = [token for token in tokens if token.kind not in ("ws", "comment")]
    for before, after in zip(code, code[1:]):
        before.next, after.prev = after, before
    annotate(code)
    return tokens


def annotate(code):
    """Notes for each token the delimiters, the impl block and the function around it."""
    stack, owners, functions, count = [], [], [], 0
    pending_owner = pending_fn = None
    for index, token in enumerate(code):
        if token.kind == "ident" and token.text in ("impl", "trait") and not any(o == "(" for o, *_ in stack[-1:]):
            # Not `impl Trait` as a type: a block's impl begins an item.
            before = token.prev
            if before is None or before.text in ("}", ";", "]", "{", "pub", ")", "unsafe") or before.kind == "str":
                pending_owner = block_type(token)
        if token.kind == "ident" and token.text == "fn" and token.next is not None and token.next.kind == "ident":
            count += 1
            pending_fn = (count, token.next.text)
        if token.text in OPEN and token.kind == "punct":
            name = ""
            before = token.prev
            if before is not None and before.text == "!" and before.prev is not None and before.prev.kind == "ident":
                name = before.prev.text + "!"
            elif token.text == "{" and before is not None and before.text == ">" or (
                before is not None and before.kind == "ident"
            ):
                name = before.text
            if token.text == "{" and enum_name(before):
                name = "enum:" + enum_name(before)
            if token.text == "{" and before is not None and before.text in ("=>", ")", "else", "loop", "async", "move"):
                name = "block" if before.text != ")" else name
            owner = fn = None
            if token.text == "{":
                if pending_owner is not None and pending_fn is None:
                    owner, pending_owner = pending_owner, None
                elif pending_fn is not None and not any(o in "([" for o, *_ in stack[fn_depth(functions):]):
                    fn, pending_fn = pending_fn, None
            token.stack, token.owner, token.func = snapshot(stack, owners, functions)
            token.func = pending_fn or token.func
            stack.append((token.text, name))
            if owner is not None:
                owners.append((len(stack), owner))
            if fn is not None:
                functions.append((len(stack), fn))
            continue
        if token.text in CLOSE and token.kind == "punct":
            if owners and owners[-1][0] == len(stack):
                owners.pop()
            if functions and functions[-1][0] == len(stack):
                functions.pop()
            if stack:
                stack.pop()
        if token.text == ";" and pending_fn is not None and not any(o in "([" for o, *_ in stack[fn_depth(functions):]):
            pending_fn = None
        token.stack, token.owner, token.func = snapshot(stack, owners, functions)
        token.func = pending_fn or token.func


def enum_name(before):
    """`enum Name<..> {` -> `Name`."""
    walk, depth = before, 0
    while walk is not None and (depth or walk.text == ">"):
        depth += (walk.text == ">") - (walk.text == "<")
        walk = walk.prev
    if walk is not None and walk.kind == "ident" and walk.prev is not None and walk.prev.text == "enum":
        return walk.text
    return None


def fn_depth(functions):
    return functions[-1][0] if functions else 0


def snapshot(stack, owners, functions):
    return tuple(stack), owners[-1][1] if owners else None, functions[-1][1] if functions else None


def block_type(token):
    """`impl<T> Trait for path::Type<..> where` -> `Trait`, `Type`; `trait Name` -> `Name`."""
    names, last, depth, walk = [], None, 0, token.next
    while walk is not None and walk.text not in ("{", ";") and walk.text != "where":
        if walk.text == "<":
            depth += 1
        elif walk.text == ">" and walk.kind == "punct":
            depth -= 1
        elif walk.text == ":" and depth == 0:
            break
        elif depth == 0 and walk.kind == "ident":
            if walk.text == "for":
                names.append(last)
                last = None
            else:
                last = walk.text
        walk = walk.next
    return Owner([*names, last])


class Owner(tuple):
    """The names an impl block belongs to: its type, and its trait."""

    def __eq__(self, name):
        return name in tuple(self)

    def __ne__(self, name):
        return name not in tuple(self)

    __hash__ = tuple.__hash__


# === files ===


class File:
    def __init__(self, root, path):
        self.root, self.origin, self.path = root, path, path
        with open(os.path.join(root, path), encoding="utf-8") as file:
            self.text = file.read()
        self.saved = self.text
        self._tokens = None

    @property
    def rust(self):
        return self.path.endswith(".rs")

    def tokens(self):
        if self._tokens is None:
            self._tokens = lex(self.text)
        return self._tokens

    def rebuilt(self, edits):
        """Puts edits {token: text} into the text."""
        if edits:
            self.text = "".join(edits.get(token, token.text) for token in self.tokens())
            self._tokens = None

    def save(self):
        if self.text != self.saved:
            with open(os.path.join(self.root, self.path), "w", encoding="utf-8") as file:
                file.write(self.text)
            self.saved = self.text

    def module(self):
        """The module path of a Rust file, by where it is now: ('crate', 'server', 'cors')."""
        return module_of(self.path)


def module_of(path):
    for base, root in (("src/", "crate"), ("tests/it/", "it"), ("tests/kit/src/", "testkit"), ("examples/", "examples"),
                       ("fuzz/src/", "fuzz")):
        if path.startswith(base):
            parts = path[len(base):].removesuffix(".rs").split("/")
            if parts[-1] in ("mod",) or parts == ["lib"] or parts == ["main"] and root != "examples":
                parts.pop()
            return (root, *parts)
    return None


def git(root, *arguments):
    return subprocess.run(["git", "-C", root, *arguments], check=True, text=True, capture_output=True).stdout


DEFINED = {}  # path -> the names of the items that its text defined before any rename
ITEM = re.compile(r"\b(?:struct|enum|trait|type|fn|const|static|mod|macro_rules!)\s+([A-Za-z_][A-Za-z_0-9]*)")


def defines(entry, path):
    """`@src/dir:Name`: the files below the folder that define an item of that name, and what is below them."""
    folder, _, name = entry[1:].rpartition(":")
    for other, names in DEFINED.items():
        if name in names and other.startswith(folder):
            module = other.removesuffix(".rs").removesuffix("/mod")
            if path == other or path.startswith(module + "/") and not other.endswith("/mod.rs"):
                return True
    return False


def in_scope(scope, path, default):
    entries = [entry.strip() for entry in scope.split(",") if entry.strip()]
    chosen = [entry for entry in entries if not entry.startswith("!")]
    matches = lambda entry: (
        defines(entry, path)
        if entry.startswith("@")
        else fnmatch.fnmatch(path, entry)
        if entry.endswith((".rs", ".md", ".py", ".sh", ".yml", ".toml", ".js")) or "*" in entry
        else path == entry + ".rs" or path.startswith(entry + "/")
    )
    if any(matches(entry[1:]) for entry in entries if entry.startswith("!")):
        return False
    return any(map(matches, chosen)) if chosen else default


# === what a rename does to the tokens of one file ===


def macro_of(token):
    return token.stack[-1][1].rstrip("!") if token.stack and token.stack[-1][1].endswith("!") else None


def captures(token):
    """Whether a string is one whose `{name}` stands for a variable or a field."""
    if not token.stack:
        return False
    name = token.stack[-1][1]
    return name.endswith("!") and name[:-1] in FORMAT or name == "error" and token.stack[-1][0] == "("


def replace_captures(token, old, new):
    return re.sub(r"(?<!\{)((?:\{\{)*)\{" + re.escape(old) + r"(?=[:}])", r"\1{" + new, token.text)


TICKS = re.compile(r"`[^`\n]+`")


def replace_ticked(comment, old, new):
    if old[:1].islower() or old[:1] == "_":
        # A lower-case word in code may be a configuration key or a name on the wire: only one that stands alone.
        return re.sub(r"`" + re.escape(old) + r"(\(\))?`", lambda match: f"`{new}{match.group(1) or ''}`", comment)
    pattern = re.compile(r"(?<![A-Za-z_0-9])" + re.escape(old) + r"(?![A-Za-z_0-9])")
    return TICKS.sub(lambda match: pattern.sub(new, match.group()), comment)


def word_edits(file, old, new, wanted=lambda token: True, ticked=True, keep_fields=True, variable=True):
    edits = {}
    for token in file.tokens():
        if token.kind == "ident" and token.text == old and wanted(token):
            macro = macro_of(token)
            if keep_fields and macro in TRACING and token.prev is not None:
                sigil = token.prev if token.prev.text in ("%", "?") else None
                before = (sigil or token).prev
                if before is not None and before.text in ("(", ",") and token.next is not None:
                    if token.next.text == "=":
                        continue  # the name of a log field
                    if token.next.text in (",", ")"):
                        # A log field named like the variable: it keeps its name.
                        if sigil is not None:
                            edits[sigil], edits[token] = f"{old} = {sigil.text}", new
                        else:
                            edits[token] = f"{old} = {new}"
                        continue
            edits[token] = new
        elif token.kind == "str" and variable and captures(token):
            changed = replace_captures(token, old, new)
            if changed != token.text:
                edits[token] = changed
        elif token.kind == "comment" and ticked and old in token.text:
            changed = replace_ticked(token.text, old, new)
            if changed != token.text:
                edits[token] = changed
    return edits


def is_field(token):
    before, after = token.prev, token.next
    if before is None or after is None:
        return False
    if before.text == ".":
        return after.text != "("
    in_braces = token.stack and token.stack[-1][0] == "{"
    if after.text == ":" and in_braces and before.text in ("{", ",", "]", ")", "pub", "mut", "ref"):
        return True
    return False


def is_shorthand(token):
    before, after = token.prev, token.next
    if not token.stack or token.stack[-1][0] != "{" or before is None or after is None:
        return False
    name = token.stack[-1][1]
    literal = name[:1].isupper() or name == ">"
    return literal and before.text in ("{", ",", "ref", "mut") and after.text in (",", "}")


def field_edits(file, old, new, owner):
    edits = {}
    for token in file.tokens():
        if token.kind == "ident" and token.text == old:
            if owner and is_field(token) and token.prev.text != "." and not of_struct(token, owner):
                continue
            if is_field(token):
                edits[token] = new
            elif is_shorthand(token) and (not owner or of_struct(token, owner)):
                # The variable of that name stays: a local of its own row may rename it.
                edits[token] = f"{new}: {old}"
        elif token.kind == "str" and token.stack and token.stack[-1] == ("(", "error"):
            changed = replace_captures(token, old, new)
            if changed != token.text:
                edits[token] = changed
        elif token.kind == "comment" and owner and f"{owner}::{old}" in token.text:
            edits[token] = token.text.replace(f"{owner}::{old}", f"{owner}::{new}")
    return edits


def of_struct(token, owner):
    name = token.stack[-1][1] if token.stack else ""
    return name == owner or name == "Self" and token.owner == owner or name == ">"


def receiver(token):
    """The last name before `.token`: `self.state.token` -> `state`, `self.token` -> `self`, `a(..).token` -> `()`."""
    before = token.prev.prev if token.prev is not None else None
    if before is None:
        return ""
    if before.text == "?":
        before = before.prev
    return before.text if before.kind == "ident" else "()"


def method_edits(file, old, new, owner, receivers, static=False):
    edits = {}
    for token in file.tokens():
        if token.kind == "comment" and old in token.text:
            names = [owner, "Self"] if owner else [r"[A-Z]\w*"]
            changed = token.text
            for name in names:
                changed = re.sub(rf"\b({name})::{old}\b", rf"\1::{new}", changed)
            if changed != token.text:
                edits[token] = changed
        if token.kind != "ident" or token.text != old or token.prev is None:
            continue
        before, after = token.prev.text, token.next.text if token.next else ""
        if before == "fn":
            if owner is None or token.owner == owner:
                edits[token] = new
        elif before == "::":
            path = token.prev.prev.text if token.prev.prev is not None else ""
            if owner is None or path == owner or path == "Self" and token.owner == owner or path == ">":
                edits[token] = new
        elif before == "." and after in ("(", "::") and not static:
            name = receiver(token)
            if owner is not None and name == "self" and token.owner is not None and token.owner != owner:
                continue
            if receivers and name not in receivers and not (name == "self" and token.owner == owner):
                continue
            edits[token] = new
    return edits


def function_edits(file, old, new):
    module, _, old = old.rpartition("::")
    within = module in (file.module() or ())
    if module and not within:
        code = [token for token in file.tokens() if token.kind not in ("ws", "comment")]
        within = any(token.text == old and path and path[-1] == module for token, path in use_paths(code))

    def wanted(token):
        if module and not within:
            path = token.prev.prev if token.prev is not None and token.prev.text == "::" else None
            if path is None or path.text != module:
                return used_from(token, module)
        before = token.prev.text if token.prev else ""
        after = token.next.text if token.next else ""
        if before == ".":
            return False
        if before == "fn":
            return token.owner is None
        if after == "::" and (token.next.next is None or token.next.next.text != "<"):
            return False  # a module
        if before == "::":
            path = token.prev.prev.text if token.prev.prev is not None else ""
            if module:
                return path == module or path == "self" and module in (file.module() or ())
            return path[:1].islower() or path in ("}",)
        if before in ("let", "mut", "for", "ref") or before != "::" and (is_variable(token) or in_pattern(token)):
            return False
        if after == "(" or after == "<" or after == "::" and token.next.next is not None and token.next.next.text == "<":
            return True
        if after == "::":
            return False
        if before in ("(", ",") and after in (")", ",") and token.stack and token.stack[-1][0] == "(":
            return True  # given as a value
        return in_use(token)

    # Where in each function a variable of that name begins: behind its `let .. ;`, at once for parameters.
    begins, order = collections.defaultdict(list), {}
    for place, token in enumerate(file.tokens()):
        order[token] = place
        if token.kind != "ident" or token.text != old or token.prev is None or token.next is None:
            continue
        closure = token.prev.text == "|" and token.next.text in ("|", ",", ":")
        if closure or token.next.text == "|" or token.next.text == ":" and token.prev.text in ("(", ",", "mut"):
            begins[token.func].append(place)
        elif token.prev.text in ("let", "mut", "ref", "for") or token.prev.text in ("(", ",") and in_pattern(token):
            begins[token.func].append((token, place))
    for function, entries in begins.items():
        for index, entry in enumerate(entries):
            if isinstance(entry, tuple):
                walk = entry[0]
                while walk is not None and not (walk.text in (";", "{") and len(walk.stack) <= len(entry[0].stack)):
                    walk = walk.next
                entries[index] = order.get(walk, entry[1])

    def is_variable(token):
        return any(place < order[token] for place in begins.get(token.func, ()))

    edits = word_edits(file, old, new, wanted, variable=False, ticked=False)
    defined = any(token in edits and token.prev is not None and token.prev.text == "fn" for token in file.tokens())
    for token in file.tokens():
        if token.kind == "comment" and old in token.text:
            text = re.sub(rf"\[`{re.escape(old)}`\]", f"[`{new}`]", token.text) if defined else token.text
            if module:
                text = re.sub(rf"\b{module}::{re.escape(old)}\b", f"{module}::{new}", text)
            if text != token.text:
                edits[token] = text
    return edits


def in_pattern(token):
    """In `let (a, token) =`, `if let Some(token) =`, `for (a, token) in`."""
    walk = token.prev
    while walk is not None and (walk.kind == "ident" or walk.text in ("(", ",", "::", "&", "_", "[")):
        if walk.text in ("let", "for"):
            return True
        walk = walk.prev
    return False


def used_from(token, module):
    """In `use .. module::{.., token, ..}`."""
    return in_use_of(token, module)


def in_use(token):
    walk, steps = token, 0
    while walk is not None and steps < 400:
        if walk.text in (";", "=>", "=") or walk.kind == "str":
            return False
        if walk.text == "use" and walk.kind == "ident":
            return True
        walk, steps = walk.prev, steps + 1
    return False


def variant_edits(file, owner, old, new):
    edits = {}
    for token in file.tokens():
        if token.kind == "comment" and f"::{old}" in token.text:
            changed = re.sub(rf"\b({owner}|Self)::{old}\b", rf"\1::{new}", token.text)
            if changed != token.text:
                edits[token] = changed
        if token.kind != "ident" or token.text != old or token.prev is None:
            continue
        if token.prev.text == "::":
            path = token.prev.prev.text if token.prev.prev is not None else ""
            if path == owner or path == "Self" and token.owner == owner:
                edits[token] = new
        elif token.stack and token.stack[-1] == ("{", "enum:" + owner) and token.prev.text in ("{", ",", "]"):
            edits[token] = new
        elif token.stack and token.stack[-1][0] == "{" and in_use_of(token, owner):
            edits[token] = new
    return edits


def in_use_of(token, owner):
    """In `use .. Owner::{A, B}`."""
    walk = token.prev
    while walk is not None and walk.text in (",", "{") or walk is not None and walk.kind == "ident":
        if walk.text == "{":
            return walk.prev is not None and walk.prev.text == "::" and walk.prev.prev.text == owner
        walk = walk.prev
    return False


# === modules ===


def use_paths(code):
    """Yields (token, path before it) for every name in `use` items."""
    index = 0
    while index < len(code):
        if code[index].kind == "ident" and code[index].text == "use":
            index += 1
            prefix, stack, path = (), [], []
            while index < len(code) and code[index].text != ";":
                token = code[index]
                if token.text == "{":
                    stack.append(tuple(path))
                elif token.text == "}":
                    path = list(stack.pop()) if stack else []
                elif token.text == ",":
                    path = list(stack[-1]) if stack else []
                elif token.text == "as":
                    index += 1
                elif token.kind == "ident":
                    yield token, tuple(path)
                    path.append(token.text)
                index += 1
        index += 1


def star_imports(code):
    """Yields (token, path before it) for every `*` in `use` items."""
    index = 0
    while index < len(code):
        if code[index].kind == "ident" and code[index].text == "use":
            path = []
            index += 1
            while index < len(code) and code[index].text != ";":
                if code[index].text == "*":
                    yield code[index], tuple(path)
                elif code[index].kind == "ident":
                    path.append(code[index].text)
                index += 1
        index += 1


def imports(file):
    """The names that `use` items of a file bring in, with the paths they stand for; and whether `super::*` is one."""
    here, found = file.module(), {}
    code = [token for token in file.tokens() if token.kind not in ("ws", "comment")]
    spans = inline_modules(code)
    for token, path in use_paths(code):
        base = here + spans.get(token, ())
        if token.text == "self" and path and path[-1] not in ("self", "super", "crate"):
            found[path[-1]] = resolve(base, path)[0]
        elif path and (token.next is None or token.next.text != "::"):
            found[token.text] = resolve(base, (*path, token.text))[0]
    return found, any(path == ("super",) for _, path in star_imports(code))


def resolve(here, path):
    """The absolute module path that a path in a file of module `here` begins with."""
    path = list(path)
    base = list(here)
    if not path:
        return tuple(base), True
    head = path[0]
    if head in ("crate", "hubplane"):
        return ("crate", *path[1:]), False
    if head == "self":
        return tuple(base + path[1:]), False
    if head == "super":
        while path and path[0] == "super":
            path.pop(0)
            base.pop()
        return tuple(base + path), False
    return tuple(base + path), True


def inline_depth(token):
    """How many inline `mod x {` are around a token: each moves `super` one down."""
    return 0


def module_edits(file, parent, old, new, above):
    """Renames the module `parent::old` in the paths of one file. `above`: the names that the file above brings in."""
    here = file.module()
    if here is None:
        return {}
    tokens = file.tokens()
    code = [token for token in tokens if token.kind not in ("ws", "comment")]
    edits, target = {}, (*parent, old)
    spans = inline_modules(code)
    known, glob = imports(file)

    def absolute(base, path):
        """What a path in code stands for."""
        head = path[0]
        if head in ("crate", "hubplane", "self", "super"):
            return [resolve(base, path)[0]]
        if head in known:
            return [known[head] + tuple(path[1:])]
        found = [base + tuple(path)]
        if glob or len(base) > len(here):
            found.append(base[:-1] + tuple(path))
            if head in above and glob:
                found.append(above[head] + tuple(path[1:]))
        return found

    used = set()
    for token, path in use_paths(code):
        used.add(token)
        base = here + spans.get(token, ())
        if token.text == old and resolve(base, path)[0] == parent and (path or base == parent):
            edits[token] = new
    for token in code:
        if token.kind != "ident" or token.text != old or token in used:
            continue
        before, after = token.prev, token.next
        if before is not None and before.text == "mod" and here + spans.get(token, ()) == parent:
            edits[token] = new
            continue
        if after is None or after.text != "::":
            continue
        base = here + spans.get(token, ())
        path, walk = [old], before
        while walk is not None and walk.text == "::":
            walk = walk.prev
            if walk is None or walk.kind != "ident":
                break
            path.insert(0, walk.text)
            walk = walk.prev
        if target in absolute(base, path):
            edits[token] = new
    names = "::".join(parent[1:])
    for token in tokens:
        if token.kind != "comment" or old not in token.text:
            continue
        changed = token.text
        if names:
            last = parent[-1]
            changed = re.sub(rf"\b({re.escape(names)}|{last})::{old}\b", rf"\1::{new}", changed)
        else:
            changed = re.sub(rf"\b(crate|hubplane)::{old}\b", rf"\1::{new}", changed)
        changed = re.sub(rf"\b(super)::{old}\b", rf"\1::{new}", changed) if here[:-1] == parent else changed
        if here == parent:
            changed = re.sub(rf"\[`{old}(?=[`:])", f"[`{new}", changed)
            if token.text.startswith("//! |"):
                changed = replace_ticked(changed, old, new)
        if changed != token.text:
            edits[token] = changed
    return edits


def inline_modules(code):
    """For each token within `mod x { .. }` of the file: the names of these modules."""
    result, stack, depth = {}, [], 0
    for token in code:
        if token.text == "{" and token.kind == "punct":
            depth += 1
            if (
                token.prev is not None and token.prev.kind == "ident"
                and token.prev.prev is not None and token.prev.prev.text == "mod"
            ):
                stack.append((depth, token.prev.text))
        elif token.text == "}" and token.kind == "punct":
            if stack and stack[-1][0] == depth:
                stack.pop()
            depth -= 1
        if stack:
            result[token] = tuple(name for _, name in stack)
    return result


# === the run ===


OURS = {"crate", "super", "self", "hubplane", "testkit", "hubplane_fuzz"}


def is_variant(token):
    return (
        bool(token.stack) and token.stack[-1][1].startswith("enum:") and token.prev is not None
        and token.prev.text in ("{", ",", "]") and token.next is not None and token.next.text in ("(", "{", ",", "}", "=")
    )


def type_wanted(file, old, modules):
    """A type of ours: no variant of that name, nothing of another crate. `modules`: the paths of all modules."""
    code = [token for token in file.tokens() if token.kind not in ("ws", "comment")]
    here, spans = file.module() or (), inline_modules(code)
    foreign, foreign_name, ours_by_name = set(), False, set()

    def is_ours(head, base):
        return head in OURS or any(base[:length] + (head,) in modules for length in (len(base), len(base) - 1))

    for token, path in use_paths(code):
        base = here + spans.get(token, ())
        mine = not path or is_ours(path[0], base)
        if token.text == old and not mine:
            foreign.add(token)
            foreign_name = foreign_name or token.next is None or token.next.text != "as"
        if mine and path:
            ours_by_name.add(path[-1] if token.text == "self" else token.text)

    def wanted(token):
        if token in foreign or is_variant(token):
            return False
        if token.prev is not None and token.prev.text == "type" and token.owner is not None:
            return False  # an associated type
        if token.prev is not None and token.prev.text == "::":
            if in_use(token):
                return True
            path, walk = [], token.prev
            while walk is not None and walk.text == "::":
                walk = walk.prev
                if walk is None or walk.kind != "ident":
                    break
                path.insert(0, walk.text)
                walk = walk.prev
            if not path or path[-1][:1].isupper():
                return False
            base = here + spans.get(token, ())
            return path[0] in ours_by_name or is_ours(path[0], base) or any(m[-1] == path[0] for m in modules) and path[0] not in KNOWN_CRATES
        return not foreign_name

    return wanted


KNOWN_CRATES = {"http", "redis", "hyper", "axum", "tokio", "serde_json", "bytes", "std", "core", "tower", "hmac", "mpsc"}


class Run:
    def __init__(self, root):
        self.root = root
        self.files = []
        for path in git(root, "ls-files").splitlines():
            if path.endswith((".rs", ".md", ".py", ".sh", ".yml", ".yaml", ".toml", ".js", ".java")) and not path.startswith(
                ("tests/vectors", "target/")
            ):
                self.files.append(File(root, path))
        DEFINED.update({file.path: set(ITEM.findall(file.text)) for file in self.files if file.rust})
        self.missing, self.collisions, self.counts = [], [], collections.Counter()

    def rust(self, scope):
        return [file for file in self.files if file.rust and in_scope(scope, file.origin, True)]

    def texts(self, scope):
        return [file for file in self.files if in_scope(scope, file.origin, False)]

    def apply(self, row):
        room, kind, old, new, scope, note = row
        changed = getattr(self, "do_" + kind)(old, new, scope, note)
        if not changed:
            self.missing.append(row)
        else:
            self.counts[kind] += 1
        return changed

    def edit(self, file, edits, old, new, kind):
        if edits and kind == "word":
            self.check_collision(file, old, new)
        file.rebuilt(edits)
        return len(edits)

    def check_collision(self, file, old, new):
        olds, news = collections.defaultdict(int), collections.defaultdict(int)
        for token in file.tokens():
            if token.kind == "ident" and token.func is not None and not (token.prev and token.prev.text == "."):
                if token.text == old:
                    olds[token.func] += 1
                elif token.text == new:
                    news[token.func] += 1
        for function in olds.keys() & news.keys():
            self.collisions.append(f"{file.path}: fn {function[1]}: both {old} and {new}")

    def markdown(self, old, new, scope):
        count = 0
        if scope:
            return 0
        for file in self.files:
            if file.path.endswith(".md") and not file.path.startswith(("tests/probes", "docs/reference", "CHANGELOG")):
                changed = replace_ticked(file.text, old, new)
                count += changed != file.text
                file.text = changed
        return count

    def do_type(self, old, new, scope, note):
        count = self.markdown(old, new, scope)
        modules = {file.module() for file in self.files if file.rust and file.module()}
        for file in self.files:
            if file.rust and file.module():
                modules.update((*file.module(), name) for name in re.findall(r"\bmod (\w+) \{", file.text))
        extra = not_foreign(note)
        for file in self.rust(scope):
            ours = type_wanted(file, old, modules)
            edits = word_edits(file, old, new, lambda token: ours(token) and extra(token))
            count += self.edit(file, edits, old, new, "type")
        # Text made by Debug and by `debug_struct`.
        for file in self.rust(scope):
            edits = {token: token.text.replace(f'"{old}"', f'"{new}"') for token in file.tokens()
                     if token.kind == "str" and token.text == f'"{old}"' and token.stack and token.stack[-1][1] in ("debug_struct", "debug_tuple")}
            self.edit(file, edits, old, new, "type")
        return count

    def do_const(self, old, new, scope, note):
        count = self.markdown(old, new, scope)
        for file in self.rust(scope):
            count += self.edit(file, word_edits(file, old, new, not_foreign(note)), old, new, "const")
        return count

    def do_word(self, old, new, scope, note):
        count = 0
        for file in self.rust(scope):
            extra = not_foreign(note)

            def wanted(token):
                module = token.prev is not None and token.prev.text == "mod" or token.next is not None and token.next.text == "::"
                return extra(token) and not module and not in_use(token)

            count += self.edit(file, word_edits(file, old, new, wanted), old, new, "word")
        return count

    def do_field(self, old, new, scope, note):
        owner, _, name = old.rpartition(".")
        return sum(self.edit(file, field_edits(file, name, new, owner or None), name, new, "field") for file in self.rust(scope))

    def do_method(self, old, new, scope, note):
        owner, _, name = old.rpartition("::")
        match = re.search(r"recv=(\S+)", note)
        receivers = match.group(1).split("|") if match else []
        count = 0
        for file in self.rust(scope):
            count += self.edit(file, method_edits(file, name, new, owner or None, receivers, "static" in note), name, new, "method")
        return count

    def do_fn(self, old, new, scope, note):
        return sum(self.edit(file, function_edits(file, old, new), old, new, "fn") for file in self.rust(scope))

    def do_variant(self, old, new, scope, note):
        owner, _, name = old.partition("::")
        return sum(self.edit(file, variant_edits(file, owner, name, new), name, new, "variant") for file in self.rust(scope))

    def do_test(self, old, new, scope, note):
        """A test function: everywhere, in strings and texts too."""
        count, pattern = 0, re.compile(r"(?<![A-Za-z_0-9])" + re.escape(old) + r"(?![A-Za-z_0-9])")
        for file in self.files if not scope else self.rust(scope):
            if old in file.text:
                text = pattern.sub(new, file.text)
                if text != file.text:
                    file.text, file._tokens = text, None
                    count += 1
        return count

    def do_prose(self, old, new, scope, note):
        """Literal text in comments; in files that are not Rust, anywhere."""
        count = 0
        files = self.texts(scope) if scope else [file for file in self.files if file.rust]
        for file in files:
            if old not in file.text:
                continue
            if file.rust:
                edits = {token: token.text.replace(old, new) for token in file.tokens() if token.kind == "comment" and old in token.text}
                count += self.edit(file, edits, old, new, "prose")
            else:
                file.text = file.text.replace(old, new)
                count += 1
        return count

    def do_string(self, old, new, scope, note):
        """Literal text in string literals."""
        count = 0
        for file in self.rust(scope):
            edits = {token: token.text.replace(old, new) for token in file.tokens() if token.kind == "str" and old in token.text}
            count += self.edit(file, edits, old, new, "string")
        return count

    def do_file(self, old, new, scope, note):
        """`old` and `new` are paths of files; the module's name follows."""
        file = next((file for file in self.files if file.origin == old), None)
        if file is None:
            return 0
        if any(other.path == new for other in self.files):
            raise SystemExit(f"{new} exists already")
        before = module_of(file.path)
        self.save()
        os.makedirs(os.path.join(self.root, os.path.dirname(new)), exist_ok=True)
        git(self.root, "mv", file.path, new)
        old_dir, new_dir = file.path.removesuffix(".rs") + "/", new.removesuffix(".rs") + "/"
        file.path = new
        # A folder `name/` beside `name.rs` goes along.
        moved = [other for other in self.files if other.path.startswith(old_dir)]
        if moved:
            git(self.root, "mv", old_dir.rstrip("/"), new_dir.rstrip("/"))
            for other in moved:
                other.path = new_dir + other.path[len(old_dir):]
        after = module_of(new)
        count = 1
        if before and before[-1] != after[-1]:
            known = {other.module(): imports(other)[0] for other in self.files if other.rust and other.module()}
            for other in self.files:
                if other.rust and other.module():
                    above = known.get(other.module()[:-1], {})
                    edits = module_edits(other, before[:-1], before[-1], after[-1], above)
                    count += self.edit(other, edits, before[-1], after[-1], "file")
        # Module paths in strings and texts: log targets, names of tests that a process is started for.
        if before and before[0] == "crate" and before[-1] != after[-1]:
            old_path, new_path = "::".join(before[1:]), "::".join((*before[1:-1], after[-1]))
            prefix = r"(?<![\w:])(hubplane::)" if len(before) == 2 else r"(?<![\w:])((?:hubplane::)?)"
            pattern = re.compile(prefix + re.escape(old_path) + r"(?!\w)")
            for other in self.files:
                if other.rust and "::" in other.text:
                    edits = {token: pattern.sub(lambda match: match.group(1) + new_path, token.text)
                             for token in other.tokens() if token.kind == "str" and pattern.search(token.text)}
                    other.rebuilt(edits)
                elif not other.rust and not other.path.startswith(("docs/reference", "tests/probes", "CHANGELOG")):
                    other.text = pattern.sub(lambda match: match.group(1) + new_path, other.text)
        # Names of files in texts.
        short_old, short_new = old.split("src/")[-1], new.split("src/")[-1]
        for other in self.files:
            text = other.text.replace(old, new)
            if other.path.endswith((".md", ".rs", ".sh", ".py")) and short_old.count("/"):
                text = re.sub(r"(?<![\w/])" + re.escape(short_old) + r"(?!\w)", short_new, text)
            if text != other.text:
                other.text, other._tokens = text, None
        return count

    def collapse(self):
        """`name: name` in struct literals and patterns, which renames leave behind, becomes `name`."""
        for file in self.files:
            if not file.rust:
                continue
            tokens, dropped = file.tokens(), {}
            index = {token: place for place, token in enumerate(tokens)}
            for token in tokens:
                colon = token.prev
                if token.kind != "ident" or colon is None or colon.text != ":" or colon.prev is None:
                    continue
                name = colon.prev
                if (
                    name.text == token.text and name.prev is not None and name.prev.text in ("{", ",")
                    and token.next is not None and token.next.text in (",", "}")
                    and token.stack and token.stack[-1][0] == "{" and token.stack[-1][1][:1].isupper()
                ):
                    for place in range(index[name], index[token]):
                        dropped[tokens[place]] = ""
            file.rebuilt(dropped)

    def save(self):
        for file in self.files:
            file.save()


def not_foreign(note):
    """`after=x|y`: only behind these tokens; `notafter=`, `before=`, `notbefore=` likewise."""
    rules = dict(re.findall(r"\b(after|notafter|before|notbefore|notpath)=(\S+)", note))
    sets = {key: set(value.split("|")) for key, value in rules.items()}

    def wanted(token):
        before = token.prev.text if token.prev else ""
        after = token.next.text if token.next else ""
        path = token.prev.prev.text if before == "::" and token.prev.prev is not None else ""
        return (
            path not in sets.get("notpath", ())
            and ("after" not in sets or before in sets["after"])
            and ("notafter" not in sets or before not in sets["notafter"])
            and ("before" not in sets or after in sets["before"])
            and ("notbefore" not in sets or after not in sets["notbefore"])
        )

    return wanted


def read_table(path):
    rows = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if not line.strip() or line.startswith("#"):
                continue
            cells = line.split("\t")
            if len(cells) < 4:
                raise SystemExit(f"{path}:{number}: {line!r} has fewer than four cells")
            cells += [""] * (6 - len(cells))
            if not hasattr(Run, "do_" + cells[1]):
                raise SystemExit(f"{path}:{number}: unknown kind {cells[1]!r}")
            rows.append(tuple(cell.strip() if index != 2 and index != 3 else cell for index, cell in enumerate(cells[:6])))
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkout")
    parser.add_argument("--table", default=os.path.join(HERE, "renames.tsv"))
    parser.add_argument("--room", action="append", default=[])
    parser.add_argument("--check", action="store_true", help="cargo check after each room")
    parser.add_argument("--no-commit", action="store_true")
    options = parser.parse_args()
    root = os.path.abspath(options.checkout)
    if git(root, "status", "--porcelain").strip():
        raise SystemExit("the checkout is not clean")
    rows = read_table(options.table)
    run = Run(root)
    rooms = list(dict.fromkeys(row[0] for row in rows))
    for room in rooms:
        if options.room and room not in options.room:
            continue
        mine = [row for row in rows if row[0] == room]
        done = sum(bool(run.apply(row)) for row in mine)
        run.collapse()
        run.save()
        subprocess.run(["cargo", "fmt"], cwd=root, check=True)
        for file in run.files:  # fmt has changed them
            with open(os.path.join(root, file.path), encoding="utf-8") as source:
                text = source.read()
            if text != file.text:
                file.text, file._tokens = text, None
            file.saved = file.text
        if options.check:
            subprocess.run(["cargo", "check", "--all-targets", "-q"], cwd=root, check=True)
        git(root, "add", "-A")
        if not options.no_commit and git(root, "status", "--porcelain").strip():
            message = f"Use the glossary's terms in {room}\n\nMechanical: {done} renames, no other change.\n"
            subprocess.run(["git", "-C", root, "commit", "-q", "-m", message], check=True)
        print(f"{room}: {done} of {len(mine)} renames")
    print("\nby kind:", ", ".join(f"{kind} {count}" for kind, count in sorted(run.counts.items())))
    if run.missing:
        print(f"\nnot found ({len(run.missing)}):")
        for row in run.missing:
            print("  ", "\t".join(row))
    if run.collisions:
        print(f"\nto be looked at, old and new name in one function ({len(run.collisions)}):")
        for line in run.collisions:
            print("  ", line)


if __name__ == "__main__":
    main()
