"""OPA as the oracle of Rego: makes the records in tests/opa, or checks them.

    opa_oracle.py make    asks OPA for its verdict on every expression and writes the records
    opa_oracle.py check   asks again and compares; exits 1 where a record differs

OPA 1.20.2 runs in process, out of the wheel that install.sh unpacks into .peers/opa. Builtin errors are strict. An argument
reaches a function through `input`, so that OPA's type checker does not see it; sets, which JSON lacks, are in the text.
Expressions written by hand are asked as the value of a rule: OPA compiles a query on its own a little otherwise.
"""

import hashlib
import itertools
import json
import random
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "tests" / "opa"
sys.path.insert(0, str(ROOT / ".peers" / "opa"))


class Text(str):
    """Rego source of an argument that JSON cannot express."""


SETS = [Text("set()"), Text("{1}"), Text("{1, 2, 3}"), Text('{"a", "b"}'), Text("{{1}, {2}}"), Text('{1, "a", null, [2]}')]
TEXTS = [
    "", "a", "A", "abc", "aBc", "a.b.c", "aaa", "banana", " a b ", "\t\n x \r\n", "é", "É", "ß", "İ", "ı", "Σ", "ΑΣ", "ΑΣΣ", "ς", "ſ",
    "\u212a", "ǅ", "ﬁ", "日本", "😀", "a😀b", "e\u0301", "\u00a0x\u00a0", "\u0085x", "\u2028", "0", "a/b", "..", "%41", "\u0000", "\ufffd",
]
NUMBERS = [
    0, 1, -1, 2, 3, 7, 10, 255, -255, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.1, 1e-7, 3.0, 4294967296, 2147483647, 9007199254740991,
    9007199254740993, -9007199254740993, 9223372036854775807, 9223372036854775808, -9223372036854775808, -9223372036854775809,
    18446744073709551615, 18446744073709551616, 123456789012345678901234567890, -123456789012345678901234567890, 1e21, 1.7e100,
]
ARRAYS = [[], [1], [3, 1, 2], ["b", "a"], [1, "a", None, True, [2], {"k": 1}], [[1], [2, [3]]], ["a", "b", "c", "b"], [1.5, -1, 10], [None], [""]]
OBJECTS = [{}, {"a": 1}, {"a": {"b": {"c": 1}}, "d": [1, {"e": 2}]}, {"b": 2, "a": 1, "é": None}, {"a": [1, 2, 3]}, {"": ""}, {"a/b": 1, "m~n": 2}]
WRONG = [None, True, False, 5, "x", [], {}, Text("{1}")]
ANY = [None, True, False, 0, -1.5, 2**64, "", "é", [], [1, [2]], {}, {"a": {"b": None}}, Text("set()"), Text("{1, 2}")]
TEXT_LISTS = [[], [""], ["a"], ["a", "b"], ["é", "😀", ""], Text("set()"), Text('{"b", "a"}'), ["a", 1], [["a"]]]
SUBJECTS = ["", "a", "abc", "ABC", "a b", "a1_b", "é", "éa", "aé", "É", "٣", "5", "\u00a0", " ", "\n", "a\nb", "\u2003", "ſ", "\u212a", "k", "日本",
            "😀", "a.b", "a-b", "[a]", "a&b", "a<b>", "{2}", "aaa", "e@acme.example", "é@acme.example", "2020-01-01", "\v", "_"]
PATTERNS = [
    "", "a", "^a$", ".", "^.$", "^.*$", r"\w", r"^\w+$", r"\W", r"^\W$", r"\d", r"^\d+$", r"\D", r"\s", r"^\s$", r"\S", r"\bé", r"\ba\b", r"\B", r"a\b",
    r"[\w]", r"^[\w.-]+$", r"[^\w]", r"[\d\s]", r"[^\s]", r"[\W]", r"^[^\W]+$", r"(?i)k", r"(?i)s", r"(?i)\w", r"(?i)É", r"(?i)[a-z]", r"(?s).", r"(?m)^b", "(?m)a$", "a$",
    r"^\w+@acme\.example$", "[[:alpha:]]", "[[:^alpha:]]", "[[:word:]]", "[[:space:]]", r"\pL", r"\p{Greek}", r"\PL", r"\p{L}+", r"[\p{L}]", r"\p{^L}", r"\p{Nd}",
    "[a&&b]", "[a-c--b]", "[a~~b]", "[[a]", "[a[b]]", "[]a]", "[^]a]", "[a-]", "[-a]", r"[a\-z]", "[&&]", r"[\]]", "a{2}", "a{2,}", "a{1,2}", "a{", "a{,2}", "a{2", "{2}", "a{x}", "x{1001}", "(a{100}){11}",
    "(a)(b)?", "(?P<n>a)", "(?<n>a)", "(?P<n>a)(?P<n>b)", "(?:a|b)+", "a**", "a*?", "a+?", "a??", "a|", "|", "()", "(", ")", "[", "]", "*", "+a", "?", "a|*", "(?=a)", "(?<=a)", r"(a)\1", "(?x) a ", "(?U)a+", "(?u)a", "(?R)a", "(?i-s:a)", "(?-i)a", "(?i", "(?z)",
    r"\<b", r"b\>", r"\b{start}a", r"\Qa.b\E", r"\Q[a", r"\A", r"\z", r"a\z", r"\Z", r"\G", r"\C", r"\x41", r"\x{e9}", r"\x4", r"\u0041", r"\U00000041", r"\101", r"\0", r"\1", r"\8", r"\a", r"\f", r"\v", r"\e", r"\h", r"\R", r"\N", r"\y", r"\é", r"\_", r"\-", r"\ ", r"\/", r"\@", r"\%", r"\#", r"[\b]", r"[\<]", r"[\Qa\E]", r"[a-\d]", r"[\d-z]", "[z-a]", "[é-ü]", "[^a]", r"[^\n]", r"[^\d\D]", "^*", "a^b", "$^", "(?i:ſ)", "(?i)ſ", "(?i)[^k]", "(|a)*", "(a*)+", "a{0}", "(?:)", "(?i)ß", "#", "a#b", "\\", "a\\",
]
GLOBS = ["", "*", "**", "a", "a*", "*.b.c", "**.c", "a.?.c", "?", "[a-c]", "[!a]", "{a,b}", "{a,b}*", "\\*", "[", "a.b.c", "*:*", "é", "[^a]", "{a", "a,b", "*b*"]
CIDRS = ["10.0.0.0/8", "10.1.2.3/8", "0.0.0.0/0", "192.168.1.0/24", "10.0.0.1/32", "::/0", "::1/128", "2001:db8::/32", "::ffff:10.0.0.0/104", "::ffff:0:0/96", "::ffff:10.0.0.1/128",
         "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0/8", "010.0.0.0/8", "10.0.0.0/", "/8", "", "10.0.0.0", "fe80::%1/64", "10.0.0.0/8 ", "10.0.0.0/+8"]
ADDRESSES = ["10.0.0.1", "11.0.0.1", "::1", "::ffff:10.0.0.1", "::ffff:11.0.0.1", "::ffff:a00:1", "2001:db8::1", "::10.0.0.1", "010.0.0.1", "10.1", "", "fe80::1%eth0", "10.0.0.1/32", "x"]
DAY = 86_400_000_000_000
TIMES = [0, 1, -1, DAY, 1582977600000000000, 1580428800000000000, 1583020799999999999, 1709164800000000000, 1704067199000000000, 951782400000000000, -2208988800000000000,
         9223372036854775807, -9223372036854775808, 9223372036854775808, 1.5, 1e18, [1582977600000000000, "America/New_York"], [1583651400000000000, "America/New_York"],
         [1582977600000000000, ""], [1582977600000000000, "UTC"], [1582977600000000000, "No/Where"], [1582977600000000000], [], [0, 5], ["x", "UTC"], [0, "Europe/Paris", "RFC3339"], [0, "UTC", "2006-01-02"]]
STAMPS = ["2020-02-29T00:00:00Z", "2020-02-29T12:34:56.789+02:00", "1970-01-01T00:00:00Z", "1677-09-21T00:12:43.145224192Z", "2262-04-11T23:47:16.854775807Z", "2262-04-11T23:47:16.854775808Z",
          "2300-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2021-02-29T00:00:00Z", "2020-1-1T00:00:00Z", "2020-01-01 00:00:00Z", "2020-01-01t00:00:00z", "2020-01-01T24:00:00Z",
          "2020-01-01T23:59:60Z", "2020-01-01T00:00:00", "2020-01-01T00:00:00,5Z", "2020-01-01T00:00:00+24:00", "2020-01-01", "", "x"]
LAYOUTS = ["RFC3339", "2006-01-02", "RFC1123", "02 Jan 06 15:04 MST", "2006-01-02T15:04:05Z07:00", "Jan _2 2006", "", "January 2 2006", "01/02/2006"]
STAMPED = ["2020-02-29T00:00:00Z", "2020-02-29", "2020-02-30", "Sat, 29 Feb 2020 00:00:00 UTC", "29 Feb 20 00:00 UTC", "Feb 29 2020", "Feb  9 2020", "February 29 2020", "02/29/2020", "", "1500-01-01", "2020-02-29 "]
DURATIONS = ["1s", "1h30m", "-1.5h", "+5ms", "1us", "1µs", "1μs", "0", "0s", "1", "", "s", "1d", ".5s", "1.s", "9223372036s", "9223372037s", "1h1h", "1 s", "1e3s", "-0", "1ns", "2562047h47m16.854775807s"]
UNITS = ["1", "0", "", "1K", "1k", "1Ki", "1KI", "1kB", "1KB", "1KiB", "1M", "1m", "1Mi", "1MB", "100m", "1.5G", "1Gi", ".5", "-1", "-1K", "+1", "1e3", "1E3", "1E", "1e", "1Ei", "1P", "1Pi", "1T", "1Q",
         "1Y", "1Zi", "1h", "1da", "1d", "1c", "1n", "1z", "1a", "x", "K", "1 K", " 1", "1KK", "\"1K\"", "'1K'", "1b", "1B", "1.5", "1.05Ki", "0x10", "1_000", "1,5", "9223372036854775807", "9223372036854775808K", "1µ", "٣", "12345678901234567890123", "1.2.3", "1mi", "1TIB", "0.1Ki"]
FORMATS = ["", "a", "%", "%%", "%s", "%d", "%v", "%q", "%x", "%X", "%o", "%b", "%c", "%e", "%f", "%g", "%t", "%T", "%U", "%p", "%5s", "%-5s|", "%05d", "%+d", "% d", "%#x", "%.2f", "%8.3f", "%.1s", "%z", "%s %s", "%[1]s", "%[2]s", "%*d", "%1000d", "12345", "a*b", "%é", "%!", "%5", "100%", "%6.2f|"]
VALUES = [[], ["a"], ["é😀"], [1], [-5], [0], [1.5], [100000000], [1e21], [123456789012345678901234567890], [None], [True], [[1, "a"]], [{"a": 1, "b": [None]}], [Text("{2, 1}")], ["a", "b"], [1, 2], ["\n\"x\""], [9007199254740993], [65], [2.0], [0.1]]
QUERIES = ["", "a", "a=b", "a=b&c=d", "a=1&a=2", "a", "a=", "=b", "&", "a&&b", "a%20b", "a+b", "%41", "%", "%4", "%zz", "%E9", "%C3%A9", "é", "a;b", "a=b;c", "?a=b", "#a", "a=b#c", "a%23b", "a=b=c", "a b", "%00", "a%2Bb", "%26=%3D"]
BASE64 = ["", "YQ==", "YQ", "YWI=", "YWJj", "Y", "YQ=", "YR==", "_-8=", "/+8=", "_-8", "YQ==\n", "Y Q==", "é", "YQ==YQ==", "====", "eyJhIjoxfQ", "gIGC"]
HEXES = ["", "61", "6", "zz", "C3A9", "c3a9", "ff", "0x61", "61 62", "é", "80"]
JSONS = ["", "1", "1.0", "\"a\"", "null", "true", "[1,2]", "{\"a\":1}", "{\"a\":1,\"a\":2}", "{", "[1,]", "01", "1e3", "NaN", " 1 ", "1 2", "'a'", "\"\\ud800\"", "\"\\u0041\"", "[1e21]", "123456789012345678901234567890", "-0", "1.10", "// x\n1"]
YAMLS = ["", "a: 1", "- 1\n- a", "a: [1, 2", "1", "yes", "no", "on", "~", "null", "0x10", "010", "1e3", "a: b: c", "a: 1\na: 2", "\"a\"", "{a: 1}", "&x 1", "a: &x 1\nb: *x", "1_000", "2020-01-01", "!!str 1", ".inf", "---\n1\n---\n2", "1: a", "true: 1"]
SEMVERS = ["1.0.0", "1.0.1", "2.0.0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-1", "1.0.0+b", "1.0", "v1.0.0", "", "01.0.0", "1.0.0-", "1.0.0-01", "99999999999999999999.0.0", "1.0.0-é", " 1.0.0"]
PATHS = [[], ["a"], ["a/b"], ["/a"], ["a/b/c"], [["a"]], [["a", "b"]], ["x"], ["d/1/e"], ["d/0"], [""], ["a~1b"], ["m~0n"], Text('{"a"}'), Text("set()"), [5], "a"]
PATCHES = [[], [{"op": "add", "path": "/x", "value": 1}], [{"op": "add", "path": "a", "value": 1}], [{"op": "remove", "path": "/a"}], [{"op": "remove", "path": "/zz"}], [{"op": "replace", "path": "/a", "value": 2}],
           [{"op": "replace", "path": "/zz", "value": 2}], [{"op": "test", "path": "/a", "value": 1}], [{"op": "test", "path": "/a", "value": 9}], [{"op": "test", "path": "/zz", "value": None}], [{"op": "move", "from": "/a", "path": "/z"}], [{"op": "copy", "from": "/a", "path": "/z"}],
           [{"op": "copy", "from": "/no", "path": "/z"}], [{"op": "no", "path": "/a"}], [{"op": "add", "path": "/a/-", "value": 1}], [{"op": "add", "path": "/a/1", "value": 9}], [{"op": "add", "path": "/a/9", "value": 9}], [{"op": "add"}], [{"path": "/a"}], [{"op": "add", "path": "/a"}],
           [{"op": "add", "path": "", "value": 3}], [{"op": "add", "path": ["a"], "value": 3}], [5], [{"op": "remove", "path": "/a"}, {"op": "remove", "path": "/a"}], [{"op": "remove", "path": ""}], [{"op": "add", "path": "/a~1b", "value": 3}], [{"op": "remove", "path": "/d/01"}], [{"op": "remove", "path": "/d/-1"}]]
SCHEMAS = [{}, {"type": "string"}, {"type": "object", "required": ["a"]}, {"type": "nothing"}, True, "{\"type\": \"number\"}", "x", {"properties": {"a": {"type": "integer"}}}, {"minimum": 3}, {"$ref": "#/no"}, {"pattern": "^a"}, [], 5]
GRAPHS = [{}, {"a": ["b"], "b": ["c"], "c": []}, {"a": ["a"]}, {"a": ["b", "c"], "b": ["a"]}, {"a": Text('{"b"}'), "b": Text("set()")}, {"a": "b"}, {"a": [1]}]
TOKENS = ["eyJhbGciOiJub25lIn0.eyJzdWIiOiIwIn0.", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIwIn0.AAEC", "", "a.b.c", "a.b", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJub25lIn0.W10.", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIwIn0", "eyJhbGciOiJub25lIn0=.e30=.", "e30.e30.é"]
UUIDS = ["00000000-0000-0000-0000-000000000000", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "F81D4FAE-7DEC-41D0-A765-00A0C91E6BF6", "{f81d4fae-7dec-11d0-a765-00a0c91e6bf6}", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "f81d4fae7dec11d0a76500a0c91e6bf6", "", "x", "f81d4fae-7dec-11d0-a765-00a0c91e6bf"]
DELIMITERS = [[], ["."], [":"], None, [".", ":"], ["é"], [""], ["ab"], [5]]
INTS = [0, 1, -1, 2, 3, 4, 10, -10, 1.5, 2**31, 2**63, "1"]
SHIFTS = [0, 1, 2, 8, 63, 64, 65, -1, 1.5]

# family: function: how many expressions, pools of its arguments
FAMILIES = {
    "text": {
        "concat": (40, ["", ",", "é"], TEXT_LISTS), "contains": (40, TEXTS, ["", "a", "b", "é", "😀", "."]), "endswith": (40, TEXTS, ["", "a", "c", "é", "b"]), "startswith": (40, TEXTS, ["", "a", " ", "é", "e"]),
        "format_int": (60, NUMBERS, [2, 8, 10, 16, 3, 36, 0]), "indexof": (40, TEXTS, ["", "a", "b", "é", "😀"]), "indexof_n": (40, TEXTS, ["", "a", "na", "é"]), "lower": (60, TEXTS), "upper": (60, TEXTS),
        "replace": (60, TEXTS, ["", "a", "an", "é"], ["", "x", "aa", "$0"]), "split": (40, TEXTS, ["", "a", ".", "é", " "]), "sprintf": (400, FORMATS, VALUES), "strings.any_prefix_match": (40, ["", "a", "abc", ["a", "b"], [], Text('{"abc"}'), ["é"]], ["", "a", "b", ["ab"], [], Text('{"a"}'), ["é", 1]]),
        "strings.any_suffix_match": (40, ["", "a", "abc", ["a", "b"], [], Text('{"abc"}'), ["é"]], ["", "c", "b", ["bc"], [], Text('{"a"}'), ["é", 1]]), "strings.count": (50, TEXTS, ["", "a", "aa", "ana", "é"]),
        "strings.replace_n": (60, [{}, {"a": "b"}, {"a": "b", "b": "c"}, {"": "x"}, {"a": "1", "aa": "2"}, {"aa": "2", "a": "1"}, {"ab": "x", "b": "y", "a": "z"}, {"é": "e"}, {"a": 1}, {"a": ""}], TEXTS), "strings.reverse": (40, TEXTS),
        "substring": (80, TEXTS, [0, 1, 2, 5, -1, 1.5, 2**40], [0, 1, 2, -1, 100, 1.5]), "trim": (50, TEXTS, ["", "a", " ", "abc", "é", "\t\n\r "]), "trim_left": (40, TEXTS, ["", "a", " ", "ab", "é"]), "trim_right": (40, TEXTS, ["", "a", " ", "cb", "é"]),
        "trim_prefix": (30, TEXTS, ["", "a", " ", "é"]), "trim_suffix": (30, TEXTS, ["", "a", " ", "é"]), "trim_space": (40, TEXTS),
    },
    "regex": {
        "regex.match": (1000, PATTERNS, SUBJECTS), "regex.is_valid": (200, PATTERNS), "regex.find_n": (250, PATTERNS, SUBJECTS, [-1, 0, 1, 2]), "regex.find_all_string_submatch_n": (250, PATTERNS, SUBJECTS, [-1, 0, 1, 2, 1.5]), "regex.split": (200, PATTERNS, SUBJECTS),
        "regex.replace": (250, SUBJECTS, PATTERNS, ["", "x", "$0", "$1", "${1}x", "$1x", "$n", "$$", "$", "\\1", "${", "$é"]), "regex.template_match": (80, ["", "a", "{a}", "x{\\w+}", "{.*}é", "x{", "}", "{a}{b}", "<\\w>", "{{a}}"], SUBJECTS, ["{", "<", "", "{{"], ["}", ">", "", "é"]),
        "regex.globs_match": (60, ["", "a*", "a.*", "[a-z]+", "\\d+", "ab", "(", ".", "é", "a+b"], ["", "a", "b*", "[0-9]", "[x-z]+", "a.*b", ".", "é", "[a-c]b"]),
    },
    "glob": {"glob.match": (200, GLOBS, DELIMITERS, ["", "a", "abc", "a.b.c", "b", "a:b", "é", "*", "a.b", "ab.c", "{a"]), "glob.quote_meta": (30, GLOBS)},
    "numbers": {
        "abs": (40, NUMBERS), "ceil": (40, NUMBERS), "floor": (40, NUMBERS), "round": (40, NUMBERS), "numbers.range": (50, [0, 1, -1, 3, 10, 1.5, "1"], [0, 1, -3, 5, 1.5, 10]), "numbers.range_step": (50, [0, 1, -3, 10], [0, 5, -5, 1.5], [1, 2, 3, 0, -1, 1.5, 100]),
        "to_number": (60, ["", "0", "1", "-1", "+1", "1.5", ".5", "1.", "1e3", "1E3", "0x10", "0b1", "1_000", " 1", "1 ", "x", "NaN", "Inf", "-Inf", "infinity", "00", "01", "1e-7", "٣", "123456789012345678901234567890", "1e99", None, True, False, 5, 1.5, 2**70]),
        "units.parse": (80, UNITS), "units.parse_bytes": (80, UNITS), "bits.and": (50, NUMBERS, [0, 1, 255, -1, 2**64, 1.5]), "bits.or": (50, NUMBERS, [0, 1, 255, -1, 2**64, 1.5]), "bits.xor": (50, NUMBERS, [0, 1, 255, -1, 2**64, 1.5]), "bits.negate": (40, NUMBERS),
        "bits.lsh": (50, NUMBERS, SHIFTS), "bits.rsh": (50, NUMBERS, SHIFTS),
    },
    "collections": {
        "count": (60, TEXTS + ARRAYS + OBJECTS + SETS), "max": (30, ARRAYS + SETS), "min": (30, ARRAYS + SETS), "sum": (40, ARRAYS + SETS + [[0.1, 0.2], [2**53, 1], [2**64, 1], [1e21, 1], [1, "a"]]), "product": (40, ARRAYS + SETS + [[0.1, 3], [2**53, 3], [2**64, 2**64], []]), "sort": (40, ARRAYS + SETS),
        "array.concat": (30, ARRAYS, ARRAYS), "array.reverse": (30, ARRAYS), "array.slice": (60, ARRAYS, INTS, INTS), "array.flatten": (30, ARRAYS), "intersection": (20, SETS + [Text("{{1, 2}, {2}}"), Text('{{"a"}}')]), "union": (20, SETS + [Text("{{1, 2}, {2}}"), Text('{{"a"}}')]),
        "object.filter": (40, OBJECTS, [[], ["a"], {"a": 1}, Text('{"b"}'), ["é"], [1]]), "object.remove": (40, OBJECTS, [[], ["a"], {"a": 1}, Text('{"b"}'), ["é"], [1]]), "object.get": (70, OBJECTS, ["a", "zz", ["a", "b"], ["d", 1, "e"], [], ["a", "zz"], 1, None], [0, None, {"x": 1}]), "object.keys": (20, OBJECTS),
        "object.subset": (50, OBJECTS + ARRAYS + SETS, OBJECTS + ARRAYS + SETS), "object.union": (40, OBJECTS, OBJECTS), "object.union_n": (30, [[], [{}], [{"a": 1}, {"a": {"b": 1}}], [{"a": {"b": 1}}, {"a": {"c": 2}}], [{"a": 1}, 5], [{"a": [1]}, {"a": [2]}]]),
        "json.filter": (60, OBJECTS, PATHS), "json.remove": (60, OBJECTS, PATHS), "json.patch": (150, OBJECTS + [[1, 2], Text("{1, 2}"), 5], PATCHES), "graph.reachable": (40, GRAPHS, [[], ["a"], Text('{"a"}'), ["zz"], ["b", "c"], "a"]),
    },
    "encodings": {
        "base64.decode": (40, BASE64), "base64.encode": (30, TEXTS), "base64.is_valid": (40, BASE64), "base64url.decode": (40, BASE64), "base64url.encode": (30, TEXTS), "base64url.encode_no_pad": (30, TEXTS), "hex.decode": (30, HEXES), "hex.encode": (30, TEXTS),
        "urlquery.decode": (60, QUERIES), "urlquery.decode_object": (60, QUERIES), "urlquery.encode": (60, TEXTS + QUERIES), "urlquery.encode_object": (40, [{}, {"a": "b"}, {"a": ["1", "2"]}, {"b": "é &=+", "a": ""}, {"a": []}, {"a": 1}, {"a": Text('{"x", "y"}')}, {"": ""}, {"a": [1]}, {"a b": "~*'()!"}]),
        "json.is_valid": (50, JSONS), "json.marshal": (60, ANY + NUMBERS + ["<&>", "\u2028", "\u0000"]), "json.marshal_with_options": (30, ANY, [{}, {"pretty": True}, {"indent": "  "}, {"prefix": ">"}, {"pretty": False, "indent": " "}, {"no": 1}, {"pretty": 1}]), "json.unmarshal": (50, JSONS),
        "yaml.is_valid": (50, YAMLS), "yaml.marshal": (40, ANY), "yaml.unmarshal": (50, YAMLS), "json.match_schema": (60, ANY + ['{"a": 1}', "1"], SCHEMAS), "json.verify_schema": (30, SCHEMAS), "semver.compare": (80, SEMVERS, SEMVERS), "semver.is_valid": (40, SEMVERS + [5, None]), "uuid.parse": (30, UUIDS),
        "io.jwt.decode": (30, TOKENS), "crypto.sha1": (10, TEXTS[:8]), "crypto.sha256": (10, TEXTS[:8]), "crypto.hmac.sha1": (10, TEXTS[:4], TEXTS[:4]), "crypto.hmac.sha256": (10, TEXTS[:4], TEXTS[:4]), "crypto.hmac.sha512": (10, TEXTS[:4], TEXTS[:4]), "crypto.hmac.equal": (10, TEXTS[:4], TEXTS[:4]),
    },
    "net": {
        "net.cidr_contains": (250, CIDRS, CIDRS + ADDRESSES), "net.cidr_intersects": (120, CIDRS, CIDRS), "net.cidr_is_valid": (50, CIDRS), "net.cidr_expand": (30, ["10.0.0.0/30", "10.0.0.5/31", "10.0.0.1/32", "::1/127", "::ffff:10.0.0.0/127", "x", "", "10.0.0.0"]),
        "net.cidr_merge": (60, [[c] for c in CIDRS] + [[c, d] for c in CIDRS[:8] for d in CIDRS[3:11]] + [[], Text('{"10.0.0.0/8"}'), ["10.0.0.0"], ["::1"], [5]]), "net.cidr_contains_matches": (60, CIDRS[:11] + [["10.0.0.0/8", "::/0"], {"a": "10.0.0.0/8"}, Text('{"10.0.0.0/8"}'), [["10.0.0.0/8", 1]], [5]], ADDRESSES + [["10.0.0.1"], {"b": "::ffff:10.0.0.1"}, [["10.0.0.1", "x"]]]),
    },
    "time": {
        "time.add_date": (300, TIMES, [0, 1, -1, 4, 300, 1.5, 2**40], [0, 1, -1, 12, 13, -13, 1.5], [0, 1, -1, 31, -366, 1.5]), "time.clock": (40, TIMES), "time.date": (40, TIMES), "time.weekday": (40, TIMES), "time.format": (60, TIMES + [[0, "UTC", layout] for layout in LAYOUTS]), "time.diff": (120, TIMES, TIMES),
        "time.parse_duration_ns": (40, DURATIONS), "time.parse_ns": (120, LAYOUTS, STAMPED), "time.parse_rfc3339_ns": (40, STAMPS),
    },
    "types": {name: (22, ANY) for name in ["is_array", "is_boolean", "is_null", "is_number", "is_object", "is_set", "is_string", "type_name"]},
}
OPERATORS = {op: 90 for op in ["+", "-", "*", "/", "%"]} | {op: 70 for op in ["==", "!=", "<", "<=", ">", ">="]} | {"&": 30, "|": 30, "in": 60}


def argument(value):
    """Whether a value reaches the function through the input."""
    return not any(isinstance(part, Text) for part in parts(value))


def parts(value):
    yield value
    if isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from parts(part)


def source(value):
    """A value as Rego text."""
    if isinstance(value, Text):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(source(part) for part in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {source(part)}" for key, part in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


def combinations(most, pools, seed):
    """At most `most` argument lists, the same ones each time; each wrong type at each place is among them."""
    lists = []
    for place in range(len(pools)):
        for wrong in WRONG:
            fine = [pool[min(1, len(pool) - 1)] for pool in pools]
            lists.append(fine[:place] + [wrong] + fine[place + 1 :])
    total = 1
    for pool in pools:
        total *= len(pool)
    chance = random.Random(seed)
    if total <= most:
        lists += [list(chosen) for chosen in itertools.product(*pools)]
    else:
        # Every value of the longest pool first, then by chance.
        longest = max(range(len(pools)), key=lambda place: len(pools[place]))
        for value in pools[longest][:most]:
            lists.append([value if place == longest else chance.choice(pool) for place, pool in enumerate(pools)])
        while len(lists) < most:
            lists.append([chance.choice(pool) for pool in pools])
    return lists


def expression(call, values):
    """The expression `call` makes of its arguments' texts, and its input."""
    names, given = [], {}
    for name, value in zip("abcd", values):
        if argument(value):
            given[name] = value
            names.append(f"input.{name}")
        else:
            names.append(source(value))
    return call(names), given


def generated(family):
    for name, (most, *pools) in FAMILIES[family].items():
        for values in combinations(most, pools, name):
            yield expression(lambda names, name=name: f"{name}({', '.join(names)})", values)


def operators():
    for op, most in OPERATORS.items():
        plain = op in "+-*/%"
        left = NUMBERS + SETS if op in "-&|" else NUMBERS if plain else ANY + NUMBERS + TEXTS[:8] + ARRAYS
        right = [[], [1, [2]], {"a": 1}, Text("{1, 2}"), "abc", 5] if op == "in" else left
        for values in combinations(most, [left, right], op):
            yield expression(lambda names, op=op: f"{names[0]} {op} {names[1]}", values)


def written():
    """Expressions written by hand, one a line: `expression` or `expression <- input`."""
    for line in (RECORDS / "language.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            call, _, given = line.partition(" <- ")
            yield call, json.loads(given or "{}")


def steady(call, given):
    """Whether OPA answers the same each time. `%p` is an address of its memory. `regex.template_match` shares its cache with
    `regex.match`, so that a template that is also a pattern is anchored or not, by what happens to be in the cache."""
    template = call.startswith("regex.template_match") and given.get("a") in PATTERNS
    return not template and not (call.startswith("sprintf") and given.get("a") == "%p")


def families():
    for family in FAMILIES:
        yield family, generated(family)
    yield "operators", operators()
    yield "language", written()


class Oracle:
    """OPA, with a new engine now and then: each keeps every query it has prepared."""

    def __init__(self):
        self.asked = 0
        self.engine = None
        self.rules = (RECORDS / "language.rego").read_text().partition("package oracle\n")[2]

    def verdict(self, call, given, as_rule=False):
        from opa_bindings import OpaEngine, OpaError

        if self.asked % 200 == 0:
            if self.engine:
                self.engine.close()
            self.engine = OpaEngine()
        self.asked += 1
        asked = f"x := {call}"
        try:
            if as_rule:
                self.engine.add_policy("oracle.rego", f"package oracle\n\n{self.rules}\n\nasked := {call}\n")
                asked = "x := data.oracle.asked"
            found = self.engine.eval_query(f"{asked}; t := type_name(x)", given)
        except OpaError as error:
            if error.code in ("internal", "panic"):
                return None  # no verdict: it panicked, or what it came to is no JSON, such as the number `+1`
            if error.code == "invalid_argument":
                raise
            return {"error": reason(str(error))}
        if not found:
            return {"undefined": True}
        value = {"value": found[0]["x"]}
        return value | {"set": True} if found[0]["t"] == "set" else value


def reason(text):
    """The kind of an error, for people; texts are not compared."""
    kinds = re.findall(r"(?:eval|rego)_\w+", text)
    return kinds[-1] if kinds else "error"


def record(call, given, verdict):
    return {"call": call} | ({"input": given} if given else {}) | verdict


def line(entry):
    return json.dumps(entry, ensure_ascii=False)


def records(oracle):
    for family, expressions in families():
        seen, entries = set(), []
        for call, given in expressions:
            key = hashlib.sha256(line([call, given]).encode()).digest()
            if key not in seen and steady(call, given):
                seen.add(key)
                verdict = oracle.verdict(call, given, family == "language")
                if verdict:
                    entries.append(record(call, given, verdict))
        yield family, "[\n" + ",\n".join(line(entry) for entry in entries) + "\n]\n", len(entries)


def main(act):
    differing, total = [], 0
    for family, text, count in records(Oracle()):
        total += count
        path = RECORDS / f"{family}.json"
        if act == "make":
            path.write_text(text)
        elif path.read_text() != text:
            known, now = path.read_text().split("\n"), text.split("\n")
            differing += [f"{family}: recorded {one}\n{family}: OPA says {other}" for one, other in zip(known, now) if one != other] or [f"{family}: {len(known)} and {len(now)} lines"]
    print(f"opa: {total} expressions, {len(differing)} records differ")
    print("\n".join(differing[:20]))
    return 1 if differing else 0


if __name__ == "__main__":
    if sys.argv[1:] not in (["make"], ["check"]):
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
