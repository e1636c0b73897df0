import JSON
import TestSupport
import Testing

@Suite("The validator of JSON Schemas") struct JSONSchemaValidatorTests {
    @Test(
        "tells what fits from what does not",
        arguments: [
            (["type": "integer"], 3, 3.5), (["type": "integer"], 3.0, "3"), (["type": "number"], 1, nil),
            (["type": ["string", "null"]], nil, false), (["const": "a"], "a", "b"),
            (["enum": ["a", nil]], nil, "b"), (["minimum": 1, "maximum": 2], 2, 2.5),
            (["exclusiveMinimum": 0], 1, 0), (["maxLength": 1, "minLength": 1], "é", ""),
            (["pattern": "^a_[0-9]+$"], "a_1", "ba_1"), (["items": ["type": "null"]], [nil], [nil, 1]),
            (["minItems": 1, "maxItems": 2], [1], []), (["required": ["a"]], ["a": 1], ["b": 1]),
            (["properties": ["a": ["type": "null"]]], ["b": 1], ["a": 1]),
            (["properties": ["a": true], "additionalProperties": false], ["a": 1], ["a": 1, "b": 1]),
            (["additionalProperties": ["type": "string"]], ["a": "b"], ["a": 1]),
            (["anyOf": [["minimum": 1], ["minimum": 2]]], 1, 0),
            (["oneOf": [["minimum": 1], ["minimum": 2]]], 1, 2), (["$ref": "#/a~1b"], "x", 1),
            (["maxProperties": 1], ["a": 1], ["a": 1, "b": 1]),
        ] as [(JSONValue, JSONValue, JSONValue)])
    func tells(schema: JSONValue, good: JSONValue, bad: JSONValue) {
        let validator = JSONSchemaValidator(document: ["a/b": ["type": "string"]])
        #expect(validator.faults(of: good, against: schema) == [])
        #expect(validator.faults(of: bad, against: schema).count == 1)
    }

    @Test("takes no keyword on trust, and no reference")
    func refusesUnknown() {
        let validator = JSONSchemaValidator()
        #expect(!validator.faults(of: 1, against: ["multipleOf": 1]).isEmpty)
        #expect(!validator.faults(of: 1, against: ["$ref": "#/nowhere"]).isEmpty)
    }

    @Test("finds what is not described when it is strict")
    func strict() {
        let schema: JSONValue = ["properties": ["a": ["properties": ["b": true]]]]
        let value: JSONValue = ["a": ["b": 1, "c": 2]]
        #expect(JSONSchemaValidator().faults(of: value, against: schema) == [])
        #expect(
            JSONSchemaValidator(isStrict: true).faults(of: value, against: schema) == [
                "/a/c is not described"
            ])
    }
}
