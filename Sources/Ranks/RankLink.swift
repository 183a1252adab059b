/// What the ranks of a group say to one another, by whatever carries it.
///
/// Calls come from any thread. Those marked collective are made by all ranks, in the same order.
package protocol RankLink: Sendable {
  /// Which of the ranks this process is, from 0.
  var rank: Int { get }
  var count: Int { get }

  /// What a counter of the group was before this call added one to it.
  func take() -> Int
  /// Sets the counter to zero. Collective.
  func resetCounter()
  /// Whether this call is the first one of all ranks, ever.
  func claim() -> Bool

  /// Rank 0's bytes. Collective.
  ///
  /// - Parameter bytes: ignored at the other ranks.
  func broadcast(_ bytes: [UInt8]) -> [UInt8]
  /// The bytes of every rank, in their order, at rank 0; nothing at the others. Collective.
  func gather(_ bytes: [UInt8]) -> [[UInt8]]

  /// Ends the processes of all ranks.
  func abort(code: Int32) -> Never
  /// Leaves the group. Collective, and the last call.
  func finish()
}
