import HTTP
import JSON
import Testing

@Suite("A route's query fields") struct QueryFieldTests {
    enum Color: String, CaseIterable { case red, green }

    static let limit = QueryField.integer("limit", default: 5, in: 1...10, "How many.")
    static let since = QueryField.optionalInteger("since", in: 0...9, "From where.")
    static let wait = QueryField.optionalNumber("wait", in: 0...60, "How long.")
    static let color = QueryField.choice("color", of: Color.self, default: .green, "Which.")
    static let colors = QueryField.choices("colors", of: Color.self, "Which ones.")
    static let names = QueryField.list("names", countMax: 2, "Who.")
    static let name = QueryField.text("name", lengthMax: 3, "What name.")
    static let dry = QueryField.flag("dry", "Whether nothing happens.")
    static let labels = QueryField.texts(prefix: "label.", countMax: 1, "Pairs.")
    static let fields: [any AnyQueryField] = [limit, since, wait, color, colors, names, name, dry, labels]

    /// What a route with these fields makes of a query.
    static func answer(_ items: [(name: String, value: String)]) -> JSONValue {
        let route = Route(.get, "/", access: .open, query: fields) { request in
            let query = request.query
            return .json([
                "limit": JSONValue(query[limit]), "since": JSONValue(query[since]),
                "wait": JSONValue(query[wait]), "color": .string(query[color].rawValue),
                "colors": .array(query[colors].map { .string($0.rawValue) }),
                "names": .array(query[names].map { .string($0) }), "name": JSONValue(query[name]),
                "dry": .bool(query[dry]), "labels": JSONValue(query[labels]["k"]),
            ])
        }
        guard case .now(let response) = Router([route]).handle(Request(.get, path: [], query: Query(items)))
        else { return .null }
        return (try? JSONValue(parsing: response.bytes ?? [])) ?? .null
    }

    @Test("are read before its handler runs")
    func reads() {
        let items = [
            ("limit", "7"), ("since", "0"), ("wait", "1.5"), ("color", "red"), ("colors", "red,green"),
            ("names", "a,b"), ("name", "abc"), ("dry", "true"), ("label.k", "v"),
        ]
        #expect(
            Self.answer(items.map { (name: $0.0, value: $0.1) }) == [
                "limit": 7, "since": 0, "wait": 1.5, "color": "red", "colors": ["red", "green"],
                "names": ["a", "b"], "name": "abc", "dry": true, "labels": "v",
            ])
    }

    @Test("of a prefix go by bytes: a mark that joins its last character is a name")
    func readsMarks() {
        let (mark, accent) = ("\u{1F3FB}k", "\u{301}")
        #expect(Query([(name: "label.\(mark)", value: "v")]).texts(prefix: "label.") == [mark: "v"])
        #expect(Query([(name: "label.\(accent)", value: "v")]).texts(prefix: "label.") == [accent: "v"])
        #expect(Self.answer([(name: "label.\(mark)", value: "v")])["errors"] == nil)
    }

    @Test("have their defaults")
    func hasDefaults() {
        #expect(
            Self.answer([]) == [
                "limit": 5, "since": nil, "wait": nil, "color": "green", "colors": [], "names": [],
                "name": nil, "dry": false, "labels": nil,
            ])
    }

    @Test("are refused together with all others that are wrong, and with what is not known")
    func refuses() {
        let items = [
            ("limit", "11"), ("since", "x"), ("wait", "61"), ("color", "blue"), ("colors", "red,blue"),
            ("names", "a,b,c"), ("name", "abcd"), ("dry", "yes"), ("label.a", "1"), ("label.b", "2"),
            ("limits", "1"),
        ]
        let answer = Self.answer(items.map { (name: $0.0, value: $0.1) })
        let pointers = answer["errors"]?.arrayValue?.compactMap { $0["pointer"]?.stringValue }
        #expect(answer["status"] == 422)
        #expect(
            pointers == [
                "?limit", "?since", "?wait", "?color", "?colors", "?names", "?name", "?dry", "?label.",
                "?limits",
            ])
    }

    @Test("of a prefix are refused where one is given twice")
    func refusesDoubles() {
        let answer = Self.answer([(name: "label.k", value: "a"), (name: "label.k", value: "b")])
        #expect(answer["status"] == 422)
        #expect(answer["errors"]?[0]?["pointer"] == "?label.k")
        #expect(answer["errors"]?[0]?["detail"] == "\"label.k\" is given 2 times")
    }

    @Test("say in their schemas what they check")
    func describes() {
        #expect(
            Self.limit.jsonSchema == ["type": "integer", "minimum": 1, "maximum": 10, "default": 5])
        #expect(
            Self.color.jsonSchema["enum"] == ["red", "green"] && Self.color.jsonSchema["default"] == "green")
        #expect(Self.colors.jsonSchema["items"]?["enum"] == ["red", "green"])
        #expect(
            Self.name.jsonSchema
                == ["type": "string", "maxLength": 3, "pattern": .string(QueryText.pattern)])
        #expect(Self.fields.allSatisfy { !$0.documentation.isEmpty && !$0.isRequired })
    }
}
