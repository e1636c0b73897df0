import API
import Foundation
import HTTP
import JSON
import Jobs
import Testing

@Suite("Webhooks over HTTP") struct WebhookRoutesTests {
    private let body: JSONValue = ["url": "https://known.example/hook"]

    @Test("a webhook is made, shown without its secret, and deleted")
    func livesAndDies() throws {
        let stage = try Backstage()
        let made = try stage.answer(.post, "/v1/webhooks", body: body)
        #expect(made.status == 201)
        let path = try #require(made["Location"])
        let secret = try #require(made.json["secret"]?.stringValue)
        #expect(secret.hasPrefix("whsec_") && Data(base64Encoded: String(secret.dropFirst(6)))?.count == 32)
        #expect(made.json["events"] == ["job.succeeded", "job.failed", "job.cancelled", "gate.failed"])
        let shown = try stage.answer(.get, path)
        #expect(shown.status == 200 && shown.json["secret"] == nil && shown.json["is_enabled"] == true)
        #expect(try stage.answer(.get, "/v1/webhooks").json["data"] == [shown.json])
        #expect(try stage.answer(.delete, path).status == 204)
        #expect(try stage.answer(.get, path).code == "webhook_not_found")
        #expect(try stage.answer(.get, "/v1/webhooks/nonsense").status == 404)
    }

    @Test(
        "what is wrong with one is said where it is",
        arguments: [
            (["url": "https://other.example/"], "/url", "host_not_allowed"),
            (["url": "https://known.example/", "events": ["job.exploded"]], "/events/0", "invalid_value"),
            (["url": "https://known.example/", "secret": "whsec_c2hvcnQ="], "/secret", "invalid_value"),
            (["url": "https://known.example/", "secret": "plain text"], "/secret", "invalid_value"),
        ] as [(JSONValue, String, String)])
    func refuses(_ body: JSONValue, _ pointer: String, _ code: String) throws {
        let answer = try Backstage().answer(.post, "/v1/webhooks", body: body)
        #expect(answer.status == 422)
        let errors = answer.json["errors"]?.arrayValue ?? []
        #expect(errors.contains { $0["pointer"]?.stringValue == pointer && $0["code"]?.stringValue == code })
    }

    @Test("a secret that is given is the one that is kept")
    func keepsSecrets() throws {
        let stage = try Backstage()
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        let made = try stage.answer(
            .post, "/v1/webhooks", body: ["url": "https://known.example/", "secret": .string(secret)])
        #expect(made.json["secret"]?.stringValue == secret)
    }

    @Test("a job's end is told as the job is then, a missed gate too; a test says what came of it")
    func tells() throws {
        let stage = try Backstage()
        stage.executor.set { _, _, _ in .succeeded(JobResult(models: [], report: ["val_accuracy": 0.5])) }
        let made = try stage.answer(.post, "/v1/webhooks", body: body)
        let path = try #require(made["Location"])
        stage.webhooks.start()
        let id = try stage.submit(
            ["type": "train", "name": "one", "gate": [["metric": "val_accuracy", "min": 0.9]]])
        stage.pool.start()
        let wanted = Set(["job.succeeded", "gate.failed"])
        let limit = Date(timeIntervalSinceNow: 20)
        while Set(stage.bench.deliveries.map(\.type)) != wanted, limit.timeIntervalSinceNow > 0 {
            Thread.sleep(forTimeInterval: 0.01)
        }
        let sent = stage.bench.deliveries
        #expect(Set(sent.map(\.type)) == wanted)
        let body = try JSONValue(parsing: Array((sent.first?.body ?? "").utf8))
        #expect(body["data"] == (try stage.answer(.get, "/v1/jobs/\(id)").json))
        stage.bench.answer(.status(503))
        let waiting = try stage.answer(.post, "\(path)/test")
        #expect([200, 202].contains(waiting.status) && waiting.json["type"] == "webhook.test")
        let listed = try stage.answer(.get, "\(path)/deliveries")
        #expect(listed.json["data"]?.arrayValue?.count == 3)
        #expect(try stage.answer(.get, "\(path)/deliveries?after=nonsense").status == 422)
    }
}

@Suite("The level of the log over HTTP") struct LogLevelRoutesTests {
    @Test("is shown and changed; a word that is no level is refused")
    func changes() throws {
        let stage = try Backstage()
        #expect(try stage.answer(.get, "/v1/system/log-level").json["level"] == "info")
        let changed = try stage.answer(.put, "/v1/system/log-level", body: ["level": "debug"])
        #expect(changed.status == 200 && changed.json["level"] == "debug" && stage.bench.level == .debug)
        #expect(try stage.answer(.put, "/v1/system/log-level", body: ["level": "loud"]).status == 422)
        #expect(stage.bench.level == .debug)
    }
}
