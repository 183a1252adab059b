import Foundation
import Synchronization

@testable import Ranks

/// Ranks that are threads of one process, for tests of their cooperation without MPI.
struct ThreadRanks: RankLink {
  let rank: Int
  private let hub: Hub

  var count: Int { hub.count }

  private final class Hub: Sendable {
    struct State {
      var arrived = 0
      var meeting = 0
      var counter = 0
      var claims = 0
      var slots: [[UInt8]]
    }

    let count: Int
    let state: Mutex<State>

    init(count: Int) {
      self.count = count
      state = Mutex(State(slots: Array(repeating: [], count: count)))
    }

    /// Waits until all ranks have arrived.
    func meet() {
      let meeting = state.withLock { state in
        defer {
          state.arrived += 1
          if state.arrived == count { (state.arrived, state.meeting) = (0, state.meeting + 1) }
        }
        return state.meeting
      }
      while state.withLock({ $0.meeting == meeting }) { usleep(50) }
    }
  }

  /// Runs `body` on every rank and returns the result of each.
  static func run<Value: Sendable>(
    _ count: Int, _ body: @escaping @Sendable (RankGroup) throws -> Value
  ) -> [Result<Value, any Error>] {
    let hub = Hub(count: count)
    let results = Mutex([Result<Value, any Error>?](repeating: nil, count: count))
    let group = DispatchGroup()
    for rank in 0..<count {
      group.enter()
      // A queue's threads do not suffice: all ranks must run at once.
      Thread.detachNewThread {
        let result = Result { try body(RankGroup(ThreadRanks(rank: rank, hub: hub))) }
        results.withLock { $0[rank] = result }
        group.leave()
      }
    }
    group.wait()
    return results.withLock { $0.compactMap(\.self) }
  }

  func take() -> Int {
    hub.state.withLock { state in
      defer { state.counter += 1 }
      return state.counter
    }
  }

  func resetCounter() {
    hub.meet()
    if rank == 0 { hub.state.withLock { $0.counter = 0 } }
    hub.meet()
  }

  func claim() -> Bool {
    hub.state.withLock { state in
      defer { state.claims += 1 }
      return state.claims == 0
    }
  }

  func broadcast(_ bytes: [UInt8]) -> [UInt8] {
    if rank == 0 { hub.state.withLock { $0.slots[0] = bytes } }
    hub.meet()
    let sent = hub.state.withLock { $0.slots[0] }
    hub.meet()
    return sent
  }

  func gather(_ bytes: [UInt8]) -> [[UInt8]] {
    hub.state.withLock { $0.slots[rank] = bytes }
    hub.meet()
    let all = rank == 0 ? hub.state.withLock { $0.slots } : []
    hub.meet()
    return all
  }

  func abort(code: Int32) -> Never { fatalError("no test ends all ranks") }

  func finish() { hub.meet() }
}
