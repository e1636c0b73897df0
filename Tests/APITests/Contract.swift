import HTTP
import JSON
import TestSupport

/// What `/openapi.json` says, to hold answers against.
struct Contract {
    let document: JSONValue
    private let validator: JSONSchemaValidator

    init(_ document: JSONValue) {
        self.document = document
        validator = JSONSchemaValidator(document: document, isStrict: true)
    }

    /// Every operation, with its method and its path.
    var operations: [(method: String, path: String, json: JSONValue)] {
        (document["paths"]?.objectValue?.members ?? []).flatMap { path, item in
            (item.objectValue?.members ?? []).map {
                (method: $0.key.uppercased(), path: path, json: $0.value)
            }
        }
    }

    /// The same with references followed.
    func resolved(_ value: JSONValue?) -> JSONValue? {
        value?["$ref"]?.stringValue.map { validator.resolve($0) } ?? value
    }

    /// What of an answer is not as the document says; nothing where it knows no such operation.
    func faults(of response: Response, to method: HTTP.Method, _ path: String) -> [String] {
        guard let operation = find(method, path) else { return [] }
        let status = "\(response.status.code)"
        guard let described = resolved(operation["responses"]?[status]) else {
            return ["the status \(status) is not described"]
        }
        let type = response.headers["Content-Type"].map { String($0.prefix { $0 != ";" }) }
        guard let type else {
            return described["content"] == nil && response.bytes == [] ? [] : ["no content is not described"]
        }
        guard let schema = described["content"]?[type]?["schema"] else {
            return ["\(status) with \(type) is not described"]
        }
        // What the stand-in for models answers is made up by each test.
        guard type.hasSuffix("json"), let bytes = response.bytes, operation["operationId"] != "predict" else {
            return []
        }
        guard let value = try? JSONValue(parsing: bytes) else { return ["the body is no JSON"] }
        return validator.faults(of: value, against: schema)
    }

    private func find(_ method: HTTP.Method, _ path: String) -> JSONValue? {
        let parts = path.split(separator: "/")
        let found = operations.filter { operation in
            let pattern = operation.path.split(separator: "/")
            return operation.method == method.rawValue && pattern.count == parts.count
                && zip(pattern, parts).allSatisfy { $0 == $1 || $0.hasPrefix("{") }
        }
        return found.min { Self.placeholderCount($0.path) < Self.placeholderCount($1.path) }?.json
    }

    private static func placeholderCount(_ path: String) -> Int { path.count { $0 == "{" } }
}
