import HTTP
import JSON
import Jobs

/// The API as OpenAPI 3.1 has it, made of the operations that it consists of.
struct OpenAPIDocument {
    let operations: [Operation]
    /// The version of the service.
    let version: String
    let resolver: any JobSpecResolver
    /// The JSON Schema of what models are asked.
    let predictionSchema: JSONValue

    /// The component that is the body of a submission: any kind of job.
    static let jobRequest = "JobRequest"
    /// The component that is the body of a prediction.
    static let predictionRequest = "PredictionRequest"

    private static let introduction =
        "Trains, prunes, distils and quantizes neural networks. Errors are RFC 9457 problem documents with "
        + "a stable `code`. What is wrong with a request as HTTP is answered before any operation: 400, 405 "
        + "with `Allow`, 413, 414, 417, 421 (a Host that is not ours), 431 and 503. HEAD is answered where "
        + "GET is."

    var json: JSONValue {
        [
            "openapi": "3.1.0",
            "info": [
                "title": "Vintner", "version": .string(version), "description": .string(Self.introduction),
            ],
            "tags": .array(
                Operation.Tag.allCases.map { tag in
                    ["name": .string(tag.rawValue), "description": .string(tag.documentation)]
                }),
            "paths": .object(paths),
            "components": [
                "schemas": .object(schemas), "responses": Refusal.components,
                "securitySchemes": [
                    "bearer": [
                        "type": "http", "scheme": "bearer",
                        "description": "The token that the first start wrote; its scopes are the roles.",
                    ]
                ],
            ],
        ]
    }

    private var paths: JSONObject {
        var paths: JSONObject = [:]
        for operation in operations {
            var item = paths[operation.route.pattern]?.objectValue ?? [:]
            item[operation.route.method.rawValue.lowercased()] = operation.json
            paths[operation.route.pattern] = .object(item)
        }
        return paths
    }

    private var schemas: JSONObject {
        var schemas = JSONObject(Resource.allCases.map { ($0.rawValue, $0.shape.json) })
        var embedding = SchemaEmbedding()
        var mapping: [(String, JSONValue)] = []
        for type in resolver.types {
            guard let schema = resolver.documentedSchema(for: type) else { continue }
            let name: String = type.rawValue.prefix(1).uppercased() + type.rawValue.dropFirst() + "JobRequest"
            schemas[name] = embedding.embed(schema)
            mapping.append((type.rawValue, .string("#/components/schemas/\(name)")))
        }
        schemas[Self.jobRequest] = [
            "description": "Any kind of job.", "oneOf": .array(mapping.map { ["$ref": $0.1] }),
            "discriminator": ["propertyName": "type", "mapping": .object(JSONObject(mapping))],
        ]
        schemas[Self.predictionRequest] = embedding.embed(predictionSchema)
        for (name, schema) in embedding.components.members { schemas[name] = schema }
        return schemas
    }
}

extension JobSpecResolver {
    /// The JSON Schema of a job type, of whose bodies each has that type and no other.
    func documentedSchema(for type: JobType) -> JSONValue? {
        guard let schema = schema(for: type)?.objectValue else { return nil }
        var (document, properties) = (schema, schema["properties"]?.objectValue ?? [:])
        var word = properties["type"]?.objectValue ?? [:]
        word["enum"] = [.string(type.rawValue)]
        properties["type"] = .object(word)
        document["properties"] = .object(properties)
        return .object(document)
    }
}
