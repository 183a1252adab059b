import Synchronization

/// The sum of arrays of equal length, always added in the order of their numbers, whichever is
/// ready first.
///
/// An array waits until those before it have been added. Few arrays wait, since work starts in
/// order.
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

  /// Returns an array of zeros to fill and pass to `add`.
  func takeZeros() -> [Float] {
    guard var array = state.withLock({ $0.idle.popLast() }) else {
      return [Float](repeating: 0, count: count)
    }
    array.withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
    return array
  }

  /// Adds an array as soon as all arrays with lower numbers have been added.
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

  /// - Precondition: all arrays have been added.
  func take() -> [Float] {
    state.withLock { state in
      precondition(state.waiting.isEmpty, "an array is missing")
      return state.sum
    }
  }
}
