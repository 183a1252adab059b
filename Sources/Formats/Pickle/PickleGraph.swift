import Storage

/// The objects that a pickle describes, as plain data: a call is a node that names what would be
/// called, and nothing is ever called.
///
/// Nodes refer to each other by index, so that shared and even self-referential objects cost
/// nothing to hold or to release.
struct PickleGraph: Sendable {
  /// An index into `nodes`.
  typealias Reference = Int

  /// What a pickle can describe.
  enum Node: Sendable {
    case none
    case boolean(Bool)
    case integer(Int)
    /// An integer outside `Int`, in decimal.
    case largeInteger(String)
    case real(Double)
    case text(String)
    case bytes(SharedBytes)
    case tuple([Reference])
    case list([Reference])
    case set([Reference])
    case dictionary([Item])
    /// A class or function by its dotted name, such as `collections.OrderedDict`.
    case global(String)
    /// The result of calling a global.
    case object(Object)
    /// Something outside the pickle, by its identifier.
    case persistent(Reference)
  }

  struct Item: Sendable {
    var key: Reference
    var value: Reference
  }

  struct Object: Sendable {
    /// What would be called: a global.
    var callee: Reference
    /// A tuple.
    var arguments: Reference
    /// A dictionary, where there are keyword arguments.
    var keywords: Reference?
    /// Appended to the result afterwards.
    var elements: [Reference] = []
    /// Set on the result afterwards.
    var items: [Item] = []
    /// What the result's attributes would be set from.
    var state: Reference?
  }

  let nodes: [Node]
  /// For each node, the byte offset of the opcode that made it.
  let positions: [Int]
  let root: Reference
}
