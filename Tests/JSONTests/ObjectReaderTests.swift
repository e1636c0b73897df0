import JSON
import Testing

@Suite("Reading an object by its field table") struct ObjectReaderTests {
    enum Color: String, CaseIterable { case red, green }

    static let count = Field.integer("count", in: 1...10, "How many.")
    static let rate = Field.number("rate", default: 0.5, in: 0...1, exclusiveMinimum: true, "How fast.")
    static let limit = Field.optionalInteger("limit", in: 1...5, "Off by default.")
    static let share = Field.optionalNumber("share", default: 0.25, in: 0...1, "A share.")
    static let threads = Field.automaticInteger("threads", in: 1...64, "Chosen when auto.")
    static let lr = Field.automaticNumber("lr", default: .value(0.1), in: 0...10, "Chosen when auto.")
    static let flag = Field.bool("flag", default: false, "A switch.")
    static let name = Field.string("name", default: "", lengthMax: 4, "A name.")
    static let note = Field.optionalString("note", lengthMax: 4, "A note.")
    static let color = Field.choice("color", of: Color.self, default: .red, "A colour.")
    static let sizes = Field.integers("sizes", default: [], count: 0...3, each: 1...9, "Sizes.")
    static let means = Field.numbers("means", default: [0], count: 1...2, each: -1...1, "Means.")
    static let ids = Field.strings("ids", default: [], count: 0...2, lengthMax: 3, "Ids.")
    static let labels = Field.texts("labels", countMax: 2, lengthMax: 3, "Labels.")
    static let model = Field.raw("model", "Checked elsewhere.")
    static let layers = Field.values("layers", default: [], count: 0...2, "Checked elsewhere.")
    static let inner = Field.object("in/ner", innerSchema, "A part.")
    static let innerSchema = ObjectSchema("inner", "A part.", fields: [flag])
    static let schema = ObjectSchema(
        "sample", "Every kind of field.",
        fields: [
            count, rate, limit, share, threads, lr, flag, name, note, color, sizes, means, ids, labels, model,
            layers, inner,
        ])

    static func read(_ value: JSONValue) -> (resolved: JSONObject, violations: [Violation]) {
        let log = ViolationLog()
        var reader = ObjectReader(value, as: schema, at: "", log: log)
        _ = (
            reader.read(count), reader.read(rate), reader.read(limit), reader.read(share),
            reader.read(threads)
        )
        _ = (reader.read(lr), reader.read(flag), reader.read(name), reader.read(note), reader.read(color))
        _ = (
            reader.read(sizes), reader.read(means), reader.read(ids), reader.read(labels), reader.read(model)
        )
        _ = reader.read(layers)
        _ = reader.readObject(inner, assumesEmpty: true) { $0.read(flag) }
        reader.finish()
        return (reader.resolved, log.violations)
    }

    @Test("fills in every default")
    func fillsDefaults() {
        let (resolved, violations) = Self.read(["count": 3.0])
        #expect(violations.isEmpty)
        #expect(
            resolved == [
                "count": 3, "rate": 0.5, "limit": nil, "share": 0.25, "threads": "auto", "lr": 0.1,
                "flag": false,
                "name": "", "note": nil, "color": "red", "sizes": [], "means": [0.0], "ids": [],
                "labels": [:],
                "model": nil, "layers": [], "in/ner": ["flag": false],
            ])
    }

    @Test("takes good values of every kind")
    func takesGoodValues() {
        let good: JSONValue = [
            "count": 10, "rate": 1.0, "limit": 5, "share": nil, "threads": 2, "lr": "auto", "flag": true,
            "name": "éééé", "note": "n", "color": "green", "sizes": [1, 9], "means": [-1.0, 1.0],
            "ids": ["abc"],
            "labels": ["k": "v"], "model": ["x": 1], "layers": [1, "a"], "in/ner": ["flag": true],
        ]
        let (resolved, violations) = Self.read(good)
        #expect(violations.isEmpty)
        #expect(.object(resolved) == good)
    }

    static let bad: [(String, JSONValue, String, String)] = [
        ("count", "big", "wrong_type", "expected an integer from 1 to 10, found \"big\""),
        ("count", 1.5, "wrong_type", "expected an integer from 1 to 10, found 1.5"),
        ("count", 1e30, "out_of_range", "expected an integer from 1 to 10, found 1e+30"),
        ("count", 11, "out_of_range", "expected an integer from 1 to 10, found 11"),
        ("count", nil, "wrong_type", "expected an integer from 1 to 10, found null"),
        ("rate", 0, "out_of_range", "expected a number above 0.0 and up to 1.0, found 0"),
        ("rate", true, "wrong_type", "expected a number above 0.0 and up to 1.0, found true"),
        ("limit", 6, "out_of_range", "expected an integer from 1 to 5, found 6"),
        ("threads", "many", "wrong_type", "expected \"auto\" or a number, found \"many\""),
        ("threads", 65, "out_of_range", "expected an integer from 1 to 64, found 65"),
        ("flag", 1, "wrong_type", "expected true or false, found 1"),
        ("name", "12345", "out_of_range", "expected at most 4 characters, found 5"),
        ("name", [1], "wrong_type", "expected a string, found an array of 1"),
        ("name", "a\0b", "invalid_value", "expected text without control characters, found U+0000"),
        ("note", "\u{1B}[2J", "invalid_value", "expected text without control characters, found U+001B"),
        ("name", "a\r\n", "invalid_value", "expected text without control characters, found U+000D"),
        (
            "labels", ["a\u{7F}": ""], "invalid_value",
            "expected keys without control characters, found U+007F"
        ),
        ("color", "blue", "invalid_value", "expected one of \"red\", \"green\", found \"blue\""),
        ("color", 3, "wrong_type", "expected one of \"red\", \"green\", found 3"),
        ("sizes", [1, 2, 3, 4], "out_of_range", "expected 0 to 3 elements, found 4"),
        ("sizes", [:], "wrong_type", "expected an array of integers, found an object"),
        ("means", [], "out_of_range", "expected 1 to 2 elements, found 0"),
        ("ids", "abc", "wrong_type", "expected an array of strings, found \"abc\""),
        ("labels", ["a": "", "b": "", "c": ""], "out_of_range", "expected at most 2 members, found 3"),
        ("labels", ["long": "v"], "invalid_value", "expected keys of 1 to 3 characters"),
    ]

    @Test("names what was expected and what was found", arguments: bad)
    func refusesBadValues(name: String, value: JSONValue, code: String, detail: String) {
        var object: JSONObject = ["count": 1]
        object[name] = value
        let violations = Self.read(.object(object)).violations
        #expect(violations == [Violation(pointer: "/\(name)", code: code, detail: detail)])
    }

    @Test("says in the schema that text has no control characters")
    func schemaOfText() {
        let properties = Self.schema.jsonSchema()["properties"]
        let expected: JSONValue = "^[^\\u0000-\\u001F\\u007F-\\u009F]*$"
        #expect(properties?["name"]?["pattern"] == expected)
        #expect(properties?["ids"]?["items"]?["pattern"] == expected)
        #expect(properties?["labels"]?["additionalProperties"]?["pattern"] == expected)
    }

    @Test("points at elements and members, escaped")
    func pointsInside() {
        let violations = Self.read(["count": 1, "sizes": [1, 0, "x"], "in/ner": ["flag": 3, "~": 0]])
            .violations
        #expect(violations.map(\.pointer) == ["/sizes/1", "/sizes/2", "/in~1ner/flag", "/in~1ner/~0"])
    }

    @Test("reports missing and unknown fields together, naming the nearest")
    func reportsAll() {
        let violations = Self.read(["cuont": 1, "zzzzzzzz": 2]).violations
        #expect(violations.map(\.code) == ["missing_field", "unknown_field", "unknown_field"])
        #expect(violations[0].detail == "\"count\" is required")
        #expect(violations[1].detail == "unknown field \"cuont\"; did you mean \"count\"?")
        #expect(violations[2].detail.hasPrefix("unknown field \"zzzzzzzz\"; known: count, rate, "))
    }

    @Test("reports a wrong root once")
    func reportsWrongRoot() {
        let expected = Violation(pointer: "", code: "wrong_type", detail: "expected an object, found null")
        #expect(Self.read(nil).violations == [expected])
    }

    @Test("keeps its answer small however bad the body is")
    func limitsViolations() {
        let hostile = JSONObject((0..<5000).map { ("x\($0)" + String(repeating: "y", count: 500), 1) })
        let violations = Self.read(.object(hostile)).violations
        #expect(violations.count == ViolationLog.countMax)
        #expect(violations.allSatisfy { $0.pointer.utf8.count < 200 && $0.detail.utf8.count < 400 })
    }

    @Test("throws all violations at once")
    func throwsAll() {
        let log = ViolationLog()
        #expect(throws: Never.self) { try log.throwIfAny() }
        log.add("/a", "out_of_range", "too big")
        log.add("", "missing_field", "no b")
        let error = #expect(throws: InvalidInput.self) { try log.throwIfAny() }
        #expect(error?.description == "/a: too big\nno b")
    }
}

@Suite("A schema printed from the field table") struct ObjectSchemaTests {
    @Test("is a draft 2020-12 document with ranges, defaults and descriptions")
    func prints() {
        let schema = ObjectSchema(
            "sample", "A sample.",
            fields: [
                ObjectReaderTests.count, ObjectReaderTests.rate, ObjectReaderTests.limit,
                ObjectReaderTests.threads, ObjectReaderTests.inner,
            ])
        let inner: JSONValue = [
            "title": "inner", "description": "A part.", "type": ["object", "null"],
            "properties": ["flag": ["type": "boolean", "description": "A switch.", "default": false]],
            "additionalProperties": false, "default": nil,
        ]
        let properties: JSONValue = [
            "count": ["type": "integer", "minimum": 1, "maximum": 10, "description": "How many."],
            "rate": [
                "type": "number", "exclusiveMinimum": 0.0, "maximum": 1.0, "description": "How fast.",
                "default": 0.5,
            ],
            "limit": [
                "type": ["integer", "null"], "minimum": 1, "maximum": 5, "description": "Off by default.",
                "default": nil,
            ],
            "threads": [
                "anyOf": [["const": "auto"], ["type": "integer", "minimum": 1, "maximum": 64]],
                "description": "Chosen when auto.", "default": "auto",
            ],
            "in/ner": inner,
        ]
        #expect(
            schema.jsonSchema() == [
                "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "sample",
                "description": "A sample.", "type": "object", "properties": properties, "required": ["count"],
                "additionalProperties": false,
            ])
    }
}
