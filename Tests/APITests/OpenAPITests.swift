import HTTP
import JSON
import Jobs
import TestSupport
import Testing

@Suite("The description of the API") struct OpenAPITests {
    private static func contract() throws -> Contract { try Backstage().contract }

    @Test("has every route, and no others")
    func hasEveryRoute() throws {
        let stage = try Backstage()
        let routes = stage.router.routes.map { "\($0.method.rawValue) \($0.pattern)" }
        let described = stage.contract.operations.map { "\($0.method) \($0.path)" }
        #expect(Set(described) == Set(routes) && described.count == routes.count)
        #expect(described.contains("GET /openapi.json") && described.contains("POST /v1/jobs"))
        #expect(stage.contract.document["openapi"] == "3.1.0")
        #expect(stage.contract.document["info"]?["version"] == "1.2.3")
    }

    @Test("names each operation once, and says what it does, what it answers and who may call")
    func describesOperations() throws {
        let stage = try Backstage()
        let operations = stage.contract.operations
        let ids = operations.compactMap { $0.json["operationId"]?.stringValue }
        #expect(ids.count == operations.count && Set(ids).count == ids.count)
        for (method, path, json) in operations {
            let route = try #require(
                stage.router.routes.first { $0.method.rawValue == method && $0.pattern == path })
            #expect(json["summary"]?.stringValue?.hasSuffix(".") == true, "\(method) \(path)")
            let tags = stage.contract.document["tags"]?.arrayValue?.map { $0["name"] } ?? []
            #expect(tags.contains(json["tags"]?[0]), "\(method) \(path)")
            let responses = json["responses"]?.objectValue?.members ?? []
            #expect(responses.contains { $0.key.hasPrefix("2") }, "\(method) \(path)")
            for (status, response) in responses {
                #expect(stage.contract.resolved(response)?["description"] != nil, "\(path) \(status)")
            }
            switch route.access {
            case .open:
                #expect((json["responses"]?["429"] == nil) == route.method.isSafe)
                #expect(json["security"]?[1]?["bearer"] != ["read"])
            case .requires(let scope):
                #expect(json["security"] == [["bearer": [.string(scope.rawValue)]]])
                #expect(json["responses"]?["401"] != nil && json["responses"]?["403"] != nil)
            }
        }
    }

    @Test("leads from what was made or listed to what may be done with it")
    func links() throws {
        let contract = try Self.contract()
        var counts: [String: Int] = [:]
        for (_, path, json) in contract.operations {
            let source = try #require(json["operationId"]?.stringValue)
            for (_, answer) in json["responses"]?.objectValue?.members ?? [] {
                for (name, link) in answer["links"]?.objectValue?.members ?? [] {
                    counts[source, default: 0] += 1
                    let target = try #require(
                        contract.operations.first { $0.json["operationId"]?.stringValue == name }, "\(name)")
                    #expect(link["operationId"]?.stringValue == name)
                    let names = target.path.split(separator: "/").filter { $0.hasPrefix("{") }.map {
                        String($0.dropFirst().dropLast())
                    }
                    for (parameter, expression) in link["parameters"]?.objectValue?.members ?? [] {
                        #expect(names.contains(parameter), "\(source) to \(name)")
                        let text = try #require(expression.stringValue)
                        let isKnown = text == "$request.path.id" && path.contains("{id}")
                        #expect(isKnown || text.hasPrefix("$response.body#/"), "\(text)")
                    }
                }
            }
        }
        #expect(counts["submitJob"] == 14 && (counts["createWebhook"] ?? 0) > 3)
        #expect((counts["openDataset"] ?? 0) == 4 && (counts["listModels"] ?? 0) == 5)
    }

    @Test("has examples that its own schemas allow")
    func examples() throws {
        let contract = try Self.contract()
        let validator = JSONSchemaValidator(document: contract.document)
        var seen: Set<String> = []
        for (_, _, json) in contract.operations {
            for (_, content) in json["requestBody"]?["content"]?.objectValue?.members ?? [] {
                for (_, example) in content["examples"]?.objectValue?.members ?? [] {
                    let name = try #require(json["operationId"]?.stringValue)
                    seen.insert(name)
                    // The bench's own kinds of jobs, uploads and questions are others than the service's.
                    if ["submitJob", "predict", "openDataset"].contains(name) { continue }
                    let value = try #require(example["value"])
                    #expect(validator.faults(of: value, against: content["schema"] ?? [:]).isEmpty, "\(name)")
                }
            }
        }
        #expect(seen == ["submitJob", "predict", "openDataset", "putDatasetFile", "createWebhook"])
    }

    @Test("declares every placeholder and every query field, and a body where one is taken")
    func declaresParameters() throws {
        let stage = try Backstage()
        for (method, path, json) in stage.contract.operations {
            let route = try #require(
                stage.router.routes.first { $0.method.rawValue == method && $0.pattern == path })
            let parameters = json["parameters"]?.arrayValue ?? []
            let names = { (place: JSONValue) in
                parameters.filter { $0["in"] == place }.compactMap { $0["name"]?.stringValue }
            }
            let placeholders = path.split(separator: "/").filter { $0.hasPrefix("{") }
            #expect(names("path") == placeholders.map { String($0.dropFirst().dropLast()) }, "\(path)")
            #expect(parameters.allSatisfy { $0["in"] != "path" || $0["required"] == true }, "\(path)")
            #expect(names("query") == (route.query ?? []).map(\.name), "\(path)")
            #expect(parameters.allSatisfy { $0["schema"] != nil && $0["description"] != nil }, "\(path)")
            #expect((route.body == .none) == (json["requestBody"] == nil), "\(method) \(path)")
        }
    }

    @Test("only where nothing depends on it does a query pass unread")
    func readsQueries() throws {
        let stage = try Backstage()
        let unread = stage.router.routes.filter { $0.query == nil && $0.access != .open }.map(\.pattern)
        #expect(unread == ["/readyz", "/metrics", "/v1/session", "/v1/session"])
        for route in stage.router.routes where route.query != nil {
            let path = route.pattern.split(separator: "{").joined().split(separator: "}").joined()
            let answer = try stage.answer(route.method, "\(path)?nonsense=1")
            #expect(answer.status == 422, "\(path)")
            #expect(answer.json["errors"]?.arrayValue?.contains { $0["pointer"] == "?nonsense" } == true)
        }
    }

    @Test("refers to nothing that it does not have, and has no schema of its own apart")
    func resolvesReferences() throws {
        let contract = try Self.contract()
        let validator = JSONSchemaValidator(document: contract.document)
        var references: Set<String> = []
        func gather(_ value: JSONValue) {
            for element in value.arrayValue ?? [] { gather(element) }
            for (key, member) in value.objectValue?.members ?? [] {
                if key == "$ref", let text = member.stringValue { references.insert(text) }
                #expect(key != "$schema" && key != "$id")
                gather(member)
            }
        }
        gather(contract.document)
        for reference in references { #expect(validator.resolve(reference) != nil, "\(reference)") }
        let unused = (contract.document["components"]?["schemas"]?.objectValue?.keys ?? []).filter {
            !references.contains("#/components/schemas/\($0)")
        }
        #expect(unused.isEmpty)
        #expect(references.contains("#/components/schemas/Question"), "what has an $id is a component")
    }

    @Test("has the bodies of jobs by the table that checks them, each type for itself")
    func describesJobs() throws {
        let contract = try Self.contract()
        let schemas = contract.document["components"]?["schemas"]
        #expect(schemas?["JobRequest"]?["oneOf"] == [["$ref": "#/components/schemas/TrainJobRequest"]])
        #expect(schemas?["JobRequest"]?["discriminator"]?["propertyName"] == "type")
        #expect(schemas?["TrainJobRequest"]?["properties"]?["seed"]?["maximum"] == 1000)
        let validator = JSONSchemaValidator(document: contract.document)
        let schema: JSONValue = ["$ref": "#/components/schemas/JobRequest"]
        #expect(validator.faults(of: ["type": "train", "seed": 7], against: schema).isEmpty)
        for body: JSONValue in [
            ["type": "prune"], ["type": "train", "seed": 1001], ["type": "train", "x": 1], [:],
        ] {
            #expect(!validator.faults(of: body, against: schema).isEmpty, "\(body)")
        }
        // A change of what is not sent would be a default.
        let changes = contract.operations.first { $0.json["operationId"] == "updateJob" }?.json["requestBody"]
        let labels = changes?["content"]?["application/json"]?["schema"]?["properties"]?["labels"]
        #expect(labels?["maxProperties"] == 32 && labels?["default"] == nil)
    }

    @Test("knows its own version, so that a client need not read it twice")
    func validates() throws {
        let stage = try Backstage()
        let answer = try stage.answer(.get, "/openapi.json")
        let etag = try #require(answer["ETag"])
        #expect(answer.status == 200 && answer["Content-Type"] == "application/json")
        #expect(try stage.answer(.get, "/openapi.json").response.bytes == answer.response.bytes)
        let again = try stage.answer(.get, "/openapi.json", headers: ["If-None-Match": etag])
        #expect(again.status == 304 && again.text.isEmpty && again["ETag"] == etag)
    }

    @Test("an answer that it does not describe is found")
    func findsFaults() throws {
        let contract = try Self.contract()
        let job = "/v1/jobs/job_00000000000000000000000000"
        let list: JSONValue = ["object": "list", "data": [], "has_more": false, "next_cursor": nil]
        #expect(contract.faults(of: .json(list), to: .get, "/v1/jobs").isEmpty)
        #expect(!contract.faults(of: .json(list), to: .get, job).isEmpty)
        #expect(!contract.faults(of: .json(list, status: .created), to: .get, "/v1/jobs").isEmpty)
        #expect(!contract.faults(of: .text("", contentType: "text/csv"), to: .get, "/v1/jobs").isEmpty)
        #expect(!contract.faults(of: Response(.ok), to: .get, "/v1/jobs").isEmpty)
        var more = list.objectValue ?? [:]
        more["total"] = 0
        #expect(
            contract.faults(of: .json(.object(more)), to: .get, "/v1/jobs") == ["/total is not described"])
    }
}
