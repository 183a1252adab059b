import Storage

/// The objects that a pickle describes, as plain data: a call becomes a node that names the callee,
/// and nothing is ever called.
///
/// Nodes refer to one another by index, so that shared and even self-referential objects cost
/// nothing to hold or to release.
struct PickleGraph: Sendable {
  /// An index into `nodes`.
  typealias Reference = Int

  /// An object that a pickle can describe.
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
    /// An object outside the pickle, by its identifier.
    case persistent(Reference)
  }

  struct Item: Sendable {
    var key: Reference
    var value: Reference
  }

  struct Object: Sendable {
    /// The global that would be called.
    var callee: Reference
    /// A tuple.
    var arguments: Reference
    /// A dictionary, if there are keyword arguments.
    var keywords: Reference?
    /// Elements appended to the result afterwards.
    var elements: [Reference] = []
    /// Items set on the result afterwards.
    var items: [Item] = []
    /// The object from which the result's attributes would be set.
    var state: Reference?
  }

  let nodes: [Node]
  /// The byte offset of the opcode that made each node.
  let positions: [Int]
  let root: Reference
}
