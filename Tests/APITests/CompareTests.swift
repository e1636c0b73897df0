import HTTP
import JSON
import Jobs
import Testing

@Suite("A comparison of jobs") struct CompareTests {
    @Test("tells where specs differ, and has the curves of all by name")
    func compares() throws {
        let stage = try Backstage()
        let one = try RunningJobTests.run(stage, gate: [["metric": "val_accuracy", "min": 0.5]], name: "one")
        let two = try stage.submit(["type": "train", "name": "two", "labels": ["a/b~c": "d"], "gate": []])
        try stage.wait(two) { $0["is_terminal"] == true }
        let answer = try stage.answer(.get, "/v1/compare?jobs=\(one),\(two)&max_points=20").json
        #expect(answer["object"] == "comparison")
        #expect(answer["jobs"]?.arrayValue?.map { $0["id"] } == [.string(one), .string(two)])
        #expect(answer["jobs"]?[0]?["summary"]?["val_accuracy"]?["last"] == 0.9)
        #expect(answer["jobs"]?[0]?["spec"] == nil)
        let differences = answer["differences"]?.arrayValue ?? []
        let byPointer = Dictionary(
            uniqueKeysWithValues: differences.map { ($0["pointer"]?.stringValue ?? "", $0["values"]) })
        #expect(byPointer["/name"] == [one: "one", two: "two"] as JSONValue)
        #expect(byPointer["/labels/a~1b~0c"] == [two: "d"] as JSONValue)
        #expect(byPointer["/gate"] == [one: [["metric": "val_accuracy", "min": 0.5]], two: []] as JSONValue)
        #expect(byPointer["/type"] == nil)
        let loss = answer["series"]?["train_loss"]
        let steps = loss?[one]?["steps"]?.arrayValue?.compactMap(\.intValue) ?? []
        #expect(steps.count <= 20 && steps.first == 0 && steps.last == 999 && steps.contains(500))
        #expect(loss?[two]?["steps"]?.arrayValue?.isEmpty == false)
        let few = try stage.answer(.get, "/v1/compare?jobs=\(one),\(two)&series=val_accuracy").json["series"]
        #expect(few?.objectValue?.keys == ["val_accuracy"])
    }

    @Test("asks for two jobs or more, that exist and differ")
    func refuses() throws {
        let stage = try Backstage()
        let one = try stage.submit()
        for query in ["", "?jobs=\(one)", "?jobs=\(one),\(one)", "?jobs=\(one),nonsense"] {
            let answer = try stage.answer(.get, "/v1/compare\(query)")
            #expect(answer.status == 422 && answer.json["errors"]?[0]?["pointer"] == "?jobs", "\(query)")
        }
        let missing = try stage.answer(.get, "/v1/compare?jobs=\(one),job_00000000000000000000000000")
        #expect(missing.status == 404 && missing.code == "job_not_found")
    }
}
