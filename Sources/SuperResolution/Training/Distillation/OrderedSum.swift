import Synchronization

/// The sum of equally long arrays, always added in the order of their numbers, whoever is ready
/// first.
///
/// Arrays wait until those before them have come; few do, since work starts in order.
final class OrderedSum: Sendable {
  private struct State {
    var sum: [Float]
    var next = 0
    var waiting: [Int: [Float]] = [:]
    var idle: [[Float]] = []
  }
  private let state: Mutex<State>
  private let count: Int

  init(count: Int) {
    self.count = count
    state = Mutex(State(sum: [Float](repeating: 0, count: count)))
  }

  /// An array of zeros to fill and hand in.
  func takeZeros() -> [Float] {
    guard var array = state.withLock({ $0.idle.popLast() }) else {
      return [Float](repeating: 0, count: count)
    }
    array.withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
    return array
  }

  /// Adds an array, when all with lower numbers have been added.
  func add(_ array: consuming [Float], number: Int) {
    let array = array
    state.withLock { state in
      state.waiting[number] = array
      while let addend = state.waiting.removeValue(forKey: state.next) {
        state.sum.withUnsafeMutableBufferPointer { sum in
          addend.withUnsafeBufferPointer { addend in
            for index in 0..<count { sum[index] += addend[index] }
          }
        }
        state.idle.append(addend)
        state.next += 1
      }
    }
  }

  /// - Precondition: all arrays were added.
  func take() -> [Float] {
    state.withLock { state in
      precondition(state.waiting.isEmpty, "an array is missing")
      return state.sum
    }
  }
}
