import Formats
import Imaging
import Storage
import SuperResolution
import Synchronization

/// A calibration of a network on patches of images.
package struct NetworkCalibration: Sendable {
  package var network: SuperResolutionNetwork
  /// The names of the weights that will be quantized.
  let quantizedNames: Set<String>
  let images: ImageFolder
  let patches: CalibrationRecipe.Patches
  /// The bit widths at which a second run measures quantized inputs; empty for no second run.
  package var bitWidths: [Int]
  let search: BoundSearchMethod
  let scaling: ActivationScaling
  let threads: Int
  private let progress: @Sendable (_ doneCount: Int, _ count: Int) -> Void

  /// - Parameters:
  ///   - plan: the plan for the network's tensors. Of convolutions, only those whose weights it
  ///     quantizes are observed.
  ///   - progress: called after each patch, from any thread, with the number done and the total.
  package init(
    network: SuperResolutionNetwork, plan: QuantizationPlan, images: ImageFolder,
    patches: CalibrationRecipe.Patches, bitWidths: [Int] = [], search: BoundSearchMethod,
    scaling: ActivationScaling, threads: Int,
    progress: @escaping @Sendable (_ doneCount: Int, _ count: Int) -> Void
  ) {
    self.network = network
    quantizedNames = Set(plan.entries.filter { $1.quantization != nil }.keys)
    self.images = images
    self.patches = patches
    self.bitWidths = bitWidths
    self.search = search
    self.scaling = scaling
    self.threads = threads
    self.progress = progress
  }

  /// Runs the network and returns the statistics of its activations.
  ///
  /// - Throws: `ModelError` when there is no activation to quantize, for images that cannot be used,
  ///   and for values that are not finite.
  package func calibration() throws -> Calibration {
    let observed = network.sites.filter { site in
      site.tapCount == nil || site.weightName.map(quantizedNames.contains) ?? false
    }
    guard !observed.isEmpty else {
      throw ModelError(
        "there is nothing to calibrate: the network has no linear layers, and the recipe quantizes "
          + "no convolution whose weight is one tensor")
    }
    var sampler = PatchSampler(
      images, side: patches.side, seed: patches.seed, for: .calibration)
    let samples = try sampler.drawVaried(patches.count)
    let calibrator = Calibrator(
      bitWidths: bitWidths, search: search, scaling: scaling, threads: threads)
    let runs = Self.runs(of: observed, calibrator)
    let count = (bitWidths.isEmpty ? 1 : 2) * patches.count * runs.count
    let done = Mutex(0)
    var found: [String: SiteStatistics] = [:]
    var calibration = Calibration()
    for names in runs {
      let source = try NetworkActivations(
        network: network, images: samples, observing: { names.contains($0.name) })
      calibration = try calibrator.calibrate(source) {
        let doneCount = done.withLock { done in
          done += 1
          return done
        }
        progress(doneCount, count)
      }
      for (name, site) in calibration.sites { found[name] = site }
    }
    calibration.sites = [:]
    for site in observed { calibration.sites[site.name] = found[site.name] }
    return calibration
  }

  /// The most bytes of convolutions' moments in one run.
  private static let momentByteCount = 1 << 30

  /// Divides sites among runs of the network, for the moments of long patches take much memory. All
  /// that are not of convolutions are in the first.
  private static func runs(
    of sites: [ActivationSite], _ calibrator: Calibrator
  ) -> [Set<String>] {
    let matrixCount = (1 + 2 * calibrator.bitWidths.count) * calibrator.setCount
    var runs: [Set<String>] = [Set(sites.filter { $0.tapCount == nil }.map(\.name))]
    var byteCount = 0
    for site in sites where site.tapCount != nil {
      let columns = SiteAccumulator.momentColumns(of: site)
      byteCount += columns * columns * 8 * matrixCount
      if byteCount > momentByteCount, !runs[runs.count - 1].isEmpty {
        runs.append([])
        byteCount = columns * columns * 8 * matrixCount
      }
      runs[runs.count - 1].insert(site.name)
    }
    return runs
  }
}
