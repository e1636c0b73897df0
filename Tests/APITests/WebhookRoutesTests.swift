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

    @Test("what is sent of a webhook changes, and the rest stays")
    func changes() throws {
        let stage = try Backstage()
        let path = try #require(try stage.answer(.post, "/v1/webhooks", body: body)["Location"])
        let before = try stage.answer(.get, path).json
        #expect(try stage.answer(.patch, path, body: [:]).json == before)
        let other = try stage.answer(
            .patch, path, body: ["url": "https://known.example/other", "events": ["job.running"]])
        #expect(other.status == 200 && other.json["url"] == "https://known.example/other")
        #expect(other.json["events"] == ["job.running"] && other.json["secret"] == nil)
        let off = try stage.answer(.patch, path, body: ["is_enabled": false])
        #expect(off.json["is_enabled"] == false && off.json["disabled_reason"] != .null)
        #expect(off.json["events"] == ["job.running"])
        #expect(try stage.answer(.patch, path, body: ["is_enabled": true]).json["disabled_at"] == .null)
        for (wrong, pointer) in [
            (["url": "https://other.example/"], "/url"), (["events": []], "/events"),
            (["secret": "x"], "/secret"), (["is_enabled": "no"], "/is_enabled"), (["name": "x"], "/name"),
        ] as [(JSONValue, String)] {
            let answer = try stage.answer(.patch, path, body: wrong)
            #expect(answer.status == 422 && answer.json["errors"]?[0]?["pointer"]?.stringValue == pointer)
        }
        let missing = "/v1/webhooks/whk_00000000000000000000000000"
        #expect(try stage.answer(.patch, missing, body: [:]).code == "webhook_not_found")
    }

    @Test("a message is shown with what it says, and sent once more")
    func redelivers() throws {
        let stage = try Backstage()
        let path = try #require(try stage.answer(.post, "/v1/webhooks", body: body)["Location"])
        stage.webhooks.start()
        let test = try stage.answer(.post, "\(path)/test").json
        let id = try #require(test["id"]?.stringValue)
        let delivery = "\(path)/deliveries/\(id)"
        func sent(_ times: Int64) throws -> JSONValue {
            let limit = Date(timeIntervalSinceNow: 20)
            while true {
                let found = try stage.answer(.get, delivery).json
                if found["attempts"] == .integer(times) || limit.timeIntervalSinceNow < 0 { return found }
                Thread.sleep(forTimeInterval: 0.01)
            }
        }
        let shown = try sent(1)
        #expect(shown["message"]?["id"]?.stringValue == id && shown["message"]?["type"] == "webhook.test")
        let again = try stage.answer(.post, "\(delivery)/redeliver")
        #expect([200, 202].contains(again.status) && again.json["id"]?.stringValue == id)
        #expect(try sent(2)["state"] == "delivered")
        let both = stage.bench.deliveries
        #expect(both.count == 2 && both[0].id == both[1].id && both[0].body == both[1].body)
        #expect(try stage.answer(.post, "\(delivery)/redeliver", body: ["x": 1]).status == 422)
        let missing = "\(path)/deliveries/dlv_00000000000000000000000000"
        #expect(try stage.answer(.get, missing).code == "delivery_not_found")
        #expect(try stage.answer(.post, "\(missing)/redeliver").code == "delivery_not_found")
        #expect(try stage.answer(.get, "\(path)/deliveries/nonsense").code == "delivery_not_found")
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
