import Foundation
import HTTP
import JSON
import Jobs
import Synchronization
import Testing

@Suite("Models are asked by POST") struct PredictionRoutesTests {
    private static func stage() throws -> (Backstage, String) {
        let stage = try Backstage()
        return (stage, "/v1/models/\(try OtherRoutesTests.addModel(stage))/predict")
    }

    @Test("body and model reach the predictor, and its answer the client")
    func answers() throws {
        let (stage, path) = try Self.stage()
        stage.predictor.set { body, model in
            .success(["echo": body, "parameters": JSONValue(Int(model.parameters))])
        }
        let answer = try stage.answer(.post, path, body: ["prompt": "a"])
        #expect(answer.status == 200)
        #expect(answer.json == ["echo": ["prompt": "a"], "parameters": 10])
    }

    @Test("every failure has its status and code")
    func failures() throws {
        let (stage, path) = try Self.stage()
        let id = try #require(ModelID(String(path.split(separator: "/")[2])))
        let violation = Violation(pointer: "/prompt", code: "unknown_character", detail: "not \"é\"")
        let expected: [(PredictionError, Int, String)] = [
            (.malformed(reason: "it ends"), 400, "malformed_json"),
            (.invalid([violation]), 422, "invalid_request"),
            (.modelUnusable(id, cause: "secret"), 409, "model_unusable"),
            (.modelTooLarge(id, byteCount: 9, limit: 4), 507, "insufficient_memory"),
            (.busy, 503, "predictions_busy"), (.tooSlow(seconds: 60), 503, "deadline_exceeded"),
            (.draining, 503, "draining"),
        ]
        for (error, status, code) in expected {
            stage.predictor.set { _, _ in .failure(error) }
            guard case .later(let wait) = stage.ask(.post, path, body: [:]) else {
                Issue.record("the answer waits for the predictor")
                continue
            }
            let problem = try #require(throws: Problem.self) { try wait.answer(false) }
            #expect(problem.status.code == status && problem.code == code)
            let isWorthRepeating = error == .busy || error == .draining
            #expect(problem.response.headers["Retry-After"] == (isWorthRepeating ? "5" : nil), "\(code)")
            #expect(!problem.response.text.contains("secret"))
        }
        #expect(try stage.answer(.post, "/v1/models/mdl_0/predict", body: [:]).code == "model_not_found")
        #expect(try stage.answer(.post, path, bytes: Array("{".utf8)).code == "malformed_json")
    }

    @Test("the client is woken by the outcome, and a prediction that nobody waits for is abandoned")
    func waits() throws {
        let (stage, path) = try Self.stage()
        guard case .later(let wait) = stage.ask(.post, path, body: [:]) else {
            Issue.record("the answer waits for the predictor")
            return
        }
        let prediction = try #require(stage.predictor.prediction)
        let wakes = Mutex(0)
        let first = wait.subscribe { wakes.withLock { $0 += 1 } }
        #expect(try wait.answer(false) == nil && !prediction.isAbandoned)
        let second = wait.subscribe { wakes.withLock { $0 += 1 } }
        first()
        #expect(!prediction.isAbandoned, "somebody still waits")
        prediction.finish(.success(["text": "x"]))
        prediction.finish(.failure(.busy))
        #expect(wakes.withLock { $0 } == 1)
        #expect(try wait.answer(false)?.status.code == 200, "only the first outcome counts")
        second()
        second()
        #expect(prediction.isAbandoned)
        guard case .later(let late) = stage.ask(.post, path, body: [:]) else { return }
        let problem = try #require(throws: Problem.self) { try late.answer(true) }
        #expect(problem.code == "deadline_exceeded")
    }
}

extension Response {
    fileprivate var text: String { String(decoding: bytes ?? [], as: UTF8.self) }
}
