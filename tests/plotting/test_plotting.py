"""Pictures are tested by what they draw: lines, points, matrices, texts, legends."""

import io
import re

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from skhug import HUGClassifier, HUGEmbedder
from skhug.plotting import (
    AngleDisplay,
    GramDisplay,
    HistoryDisplay,
    RetrievalDisplay,
    SphereDisplay,
)
from skhug.plotting._common import shown
from skhug.proxies import cross_polytope, simplex

ROWS = [
    {"epoch": 1, "loss": 3.0, "between": 2.5, "within": 0.5, "validation_score": 0.7},
    {"epoch": 2, "loss": 2.6, "between": 2.4, "within": 0.2, "validation_score": 0.9, "nc1": 1.0},
    {"epoch": 3, "loss": 2.5, "between": 2.4, "within": 0.1, "validation_score": 0.8},
    {"epoch": 4, "loss": 2.4, "between": 2.4, "within": 0.1, "validation_score": 0.8, "nc1": 0.01},
]


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def cloud(n_classes, n_components, n=60, noise=0.1, names=None):
    """Return labels, unit embeddings about random proxies, and the proxies."""
    rng = np.random.default_rng(n_classes)
    proxies = rng.normal(size=(n_classes, n_components))
    proxies /= np.linalg.norm(proxies, axis=1, keepdims=True)
    codes = np.arange(n) % n_classes
    z = proxies[codes] + noise * rng.normal(size=(n, n_components))
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    return (codes if names is None else np.asarray(names)[codes]), z, proxies


@pytest.fixture(scope="module")
def fitted(iris):
    X, y = iris
    model = HUGClassifier(max_epochs=2, early_stopping=True, random_state=0).fit(X, y)
    return model, X, y


def images(n, *shape):
    return np.random.default_rng(0).integers(0, 256, size=(n, *shape)).astype(np.uint8)


def drawn(collection):
    return np.asarray(collection.get_offsets())


class TestHistory:
    def test_each_key_is_a_curve_of_its_values(self):
        lines = HistoryDisplay.from_history(ROWS).lines_
        assert set(lines) == {"loss", "between", "within", "validation_score", "nc1"}
        for key, line in lines.items():
            held = [(row["epoch"], row[key]) for row in ROWS if key in row]
            np.testing.assert_array_equal(line.get_xydata(), held)

    def test_loss_terms_share_a_panel_and_measures_have_their_own(self):
        display = HistoryDisplay.from_history(ROWS)
        titles = [panel.get_title() for panel in display.axes_]
        assert titles == ["Loss terms", "Validation score", "nc1"]
        legend = display.axes_[0].get_legend().get_texts()
        assert [text.get_text() for text in legend] == ["loss", "between", "within"]
        styles = {(line.get_linestyle(), line.get_marker()) for line in display.axes_[0].lines}
        assert len(styles) == 3  # told apart without colour

    def test_the_best_score_is_marked(self):
        panel = HistoryDisplay.from_history(ROWS).axes_[1]
        np.testing.assert_array_equal(panel.lines[-1].get_xydata(), [[2, 0.9]])
        assert panel.get_legend().get_texts()[0].get_text() == "best 0.900, epoch 2"

    def test_a_tracked_measure_stands_beside_its_optimum(self, iris):
        model = HUGClassifier(max_epochs=3, track=("nc",), random_state=0).fit(*iris)
        display = HistoryDisplay.from_estimator(model)
        panel = display.lines_["ncc_agreement"].axes
        assert panel.get_title() == "Nearest-class-centre agreement"
        assert panel.lines[-1].get_ydata() == [1.0, 1.0]
        assert panel.get_legend().get_texts()[0].get_text() == "optimum 1"

    def test_an_optimum_of_zero_is_not_drawn_on_a_logarithmic_axis(self):
        display = HistoryDisplay.from_history(ROWS, optima={"nc1": 0.0})
        assert list(display.axes_[2].lines) == [display.lines_["nc1"]]

    def test_axes_are_logarithmic_only_for_positive_values_of_wide_span(self):
        scales = [panel.get_yscale() for panel in HistoryDisplay.from_history(ROWS).axes_]
        assert scales == ["log", "linear", "log"]
        negative = [{"loss": -1.0}, {"loss": -100.0}]
        assert HistoryDisplay.from_history(negative).ax_.get_yscale() == "linear"

    def test_what_is_no_finite_number_is_passed_over(self):
        rows = [{"loss": 1.0, "note": "warm", "nan": float("nan")}, {"loss": 0.9, "done": True}]
        display = HistoryDisplay.from_history(rows)
        assert list(display.lines_) == ["loss"]
        assert display.axes_.tolist() == [display.ax_]
        assert display.lines_["loss"].get_xdata().tolist() == [1, 2]

    def test_a_history_without_numbers_is_refused(self):
        with pytest.raises(ValueError, match="history holds no numbers"):
            HistoryDisplay.from_history([{"epoch": 1}])

    def test_it_reads_pipelines_and_searches(self, fitted):
        model, X, y = fitted
        expected = HistoryDisplay.from_estimator(model).lines_["loss"].get_ydata()
        assert expected.tolist() == [row["loss"] for row in model.history_]
        pipeline = make_pipeline(MinMaxScaler(), HUGEmbedder(max_epochs=2, random_state=0))
        search = GridSearchCV(
            pipeline, {"hugembedder__alpha": [1.0]}, cv=2, scoring=lambda *_: 0.0
        ).fit(X, y)
        curve = HistoryDisplay.from_estimator(search).lines_["loss"].get_ydata()
        assert curve.tolist() == [r["loss"] for r in search.best_estimator_[-1].history_]

    def test_what_has_no_history_is_refused(self, iris):
        scaler = MinMaxScaler().fit(iris[0])
        with pytest.raises(ValueError, match="MinMaxScaler has no history_: pass rows"):
            HistoryDisplay.from_estimator(scaler)
        with pytest.raises(NotFittedError):
            HistoryDisplay.from_estimator(HUGClassifier())


class TestSphere:
    def test_proxies_and_their_names_lie_above_all_points(self):
        y, z, proxies = cloud(3, 3)
        display = SphereDisplay.from_predictions(y, z, proxies=proxies)
        display.figure_.canvas.draw()
        lowest = min(artist.get_zorder() for artist in (display.proxies_, *display.ax_.texts))
        assert lowest > max(points.get_zorder() for points in display.points_)
        assert not display.ax_.computed_zorder

    def test_points_of_the_circle_are_the_embeddings_class_by_class(self):
        y, z, proxies = cloud(3, 2, names=["a", "b", "c"])
        display = SphereDisplay.from_predictions(y, 5 * z, proxies=proxies)
        for name, points in zip("abc", display.points_, strict=True):
            np.testing.assert_allclose(drawn(points), z[y == name])
            assert points.get_label() == name
        np.testing.assert_allclose(drawn(display.proxies_), proxies)
        assert [t.get_text() for t in display.ax_.texts] == ["a", "b", "c"]
        assert display.ax_.get_title() == "Embeddings on the circle"

    def test_points_of_the_sphere_are_the_embeddings(self):
        y, z, _ = cloud(4, 3)
        display = SphereDisplay.from_predictions(y, z)
        assert display.ax_.name == "3d"
        assert display.proxies_ is None
        x = np.concatenate([np.transpose(points._offsets3d) for points in display.points_])
        np.testing.assert_allclose(x, np.concatenate([z[y == c] for c in range(4)]))

    def test_a_projection_keeps_the_share_it_says(self):
        y, z, proxies = cloud(5, 6)
        display = SphereDisplay.from_predictions(y, z, proxies=proxies)
        centred = proxies - proxies.mean(0)
        _, spread, axes = np.linalg.svd(centred)
        share = spread**2 / (spread**2).sum()
        assert display.ax_.get_title() == (
            "Embeddings: 6 components projected to 2\n"
            f"{share[:2].sum():.0%} of the variance of the proxies kept"
        )
        assert display.ax_.get_xlabel() == f"Principal axis 1 ({share[0]:.0%})"
        expected = np.abs(z[y == 0] @ axes[:2].T)  # the sign of an axis is arbitrary
        np.testing.assert_allclose(np.abs(drawn(display.points_[0])), expected, atol=1e-12)

    def test_classes_differ_in_colour_and_marker(self):
        y, z, _ = cloud(10, 2)
        points = SphereDisplay.from_predictions(y, z).points_
        assert len({tuple(p.get_facecolor()[0]) for p in points}) == 10
        shapes = {p.get_paths()[0].vertices.tobytes() for p in points}
        assert len(shapes) == 9

    def test_many_classes_have_no_legend_and_no_names(self):
        y, z, proxies = cloud(120, 4, n=240)
        display = SphereDisplay.from_predictions(y, z, proxies=proxies)
        assert display.ax_.get_legend() is None
        assert len(display.ax_.texts) == 0
        assert sum(len(drawn(points)) for points in display.points_) == 240

    def test_many_points_are_thinned_alike_each_time_and_the_title_says_so(self):
        y, z, _ = cloud(3, 2)
        first, second = (SphereDisplay.from_predictions(y, z, max_points=20) for _ in range(2))
        assert first.ax_.get_title().endswith("20 of 60 points drawn")
        for a, b in zip(first.points_, second.points_, strict=True):
            np.testing.assert_array_equal(drawn(a), drawn(b))
        kept = np.concatenate([drawn(points) for points in first.points_])
        assert len(kept) == 20
        assert np.abs(kept[:, None] - z).max(2).min(1).max() < 1e-12  # each is one of z

    def test_classes_without_a_proxy_are_drawn_too(self):
        y, z, proxies = cloud(4, 2)
        display = SphereDisplay.from_predictions(
            y, z, proxies=proxies[:3], classes=np.array([0, 1, 2])
        )
        np.testing.assert_allclose(drawn(display.points_[3]), z[y == 3])
        assert len(drawn(display.proxies_)) == 3

    def test_it_draws_what_an_estimator_makes_of_rows(self, fitted):
        model, X, y = fitted
        display = SphereDisplay.from_estimator(model, X, y)
        np.testing.assert_allclose(drawn(display.points_[1]), model.transform(X)[y == 1], atol=1e-6)
        np.testing.assert_allclose(drawn(display.proxies_), model.proxies_, atol=1e-6)

    def test_flat_axes_are_refused_for_the_sphere(self):
        y, z, _ = cloud(4, 3)
        with pytest.raises(ValueError, match="needs axes with projection='3d'"):
            SphereDisplay.from_predictions(y, z, ax=plt.subplots()[1])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"n_axes": 4}, "n_axes=4: pass 2 or 3"),
            ({"proxies": np.eye(3)}, "4 components and proxies 3"),
            ({"proxies": np.eye(4)[:2]}, "2 proxies and 3 classes"),
            ({"embeddings": np.zeros((60, 4))}, "rows of zeros"),
            ({"y": [0, 1]}, "one label for each of 60 rows"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, change, message):
        y, z, proxies = cloud(3, 4)
        arguments = {"y": y, "embeddings": z, "proxies": proxies, **change}
        with pytest.raises(ValueError, match=message):
            SphereDisplay.from_predictions(**arguments)

    def test_the_page_holds_the_points_and_needs_no_network(self, tmp_path):
        pytest.importorskip("plotly")
        y, z, proxies = cloud(3, 3, names=["ant", "bee", "cat"])
        display = SphereDisplay(z, y, proxies=proxies)
        path = display.to_html(tmp_path / "sphere.html")
        page = path.read_text(encoding="utf-8")
        assert not re.search(r"<(script|link)[^>]*\s(src|href)=", page)
        data = page[page.rindex("Plotly.newPlot") :]
        assert all(f'"name":"{name}"' in data for name in ("ant", "bee", "cat", "proxies"))

    def test_the_interactive_figure_draws_the_embeddings(self):
        pytest.importorskip("plotly")
        from skhug.plotting._projection import project
        from skhug.plotting._sphere import _interactive

        y, z, proxies = cloud(3, 3)
        figure = _interactive(project(SphereDisplay(z, y, proxies=proxies), 3))
        _, *classes, stars = figure.data
        for c, trace in enumerate(classes):
            np.testing.assert_allclose(np.stack([trace.x, trace.y, trace.z], 1), z[y == c])
        np.testing.assert_allclose(np.stack([stars.x, stars.y, stars.z], 1), proxies)


class TestGram:
    def test_the_matrix_is_the_cosines_of_the_class_means(self):
        y, z, _ = cloud(4, 6)
        display = GramDisplay.from_predictions(y, z)
        means = np.array([z[y == c].mean(0) for c in range(4)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        drawn_matrix = display.images_[0].get_array()
        off = ~np.eye(4, dtype=bool)
        np.testing.assert_allclose(drawn_matrix[off], (means @ means.T)[off])
        np.testing.assert_array_equal(drawn_matrix.mask, ~off)
        np.testing.assert_allclose(display.images_[1].get_array()[off], -1 / 3)
        assert display.deviation_ == pytest.approx(np.abs((means @ means.T)[off] + 1 / 3).max())
        assert display.axes_[1].get_title() == "Ideal: simplex"

    def test_both_matrices_have_the_same_colours_and_the_numbers_are_written(self):
        y, z, _ = cloud(3, 4)
        display = GramDisplay.from_predictions(y, z)
        assert display.images_[0].get_clim() == display.images_[1].get_clim()
        texts = [t.get_text().replace("\N{MINUS SIGN}", "-") for t in display.axes_[0].texts]
        matrix = np.asarray(display.cosines)
        assert [float(t) for t in texts] == matrix[~np.eye(3, dtype=bool)].round(2).tolist()

    @pytest.mark.parametrize("seed", range(3))
    def test_opposites_of_the_cross_polytope_are_matched(self, seed):
        points = cross_polytope(8, 4).numpy()[np.random.default_rng(seed).permutation(8)]
        display = GramDisplay.from_proxies(points)
        assert display.axes_[1].get_title() == "Ideal: cross-polytope"
        assert display.deviation_ == pytest.approx(0, abs=1e-12)

    def test_places_on_the_polygon_are_matched(self):
        angle = 0.3 + 2 * np.pi * np.array([3, 0, 4, 1, 2]) / 5
        display = GramDisplay.from_proxies(np.column_stack([np.cos(angle), np.sin(angle)]))
        assert display.axes_[1].get_title() == "Ideal: regular polygon"
        assert display.deviation_ == pytest.approx(0, abs=1e-12)

    def test_without_a_closed_form_one_matrix_is_drawn_and_the_title_says_so(self):
        _, _, proxies = cloud(9, 3)
        display = GramDisplay.from_proxies(proxies)
        assert len(display.axes_) == 1
        assert "no closed-form ideal\n9 classes, 3 components" in display.ax_.get_title()
        given = GramDisplay.from_proxies(proxies, ideal=proxies @ proxies.T)
        assert given.deviation_ < 1e-12

    def test_it_draws_proxies_or_class_means_of_an_estimator(self, fitted):
        model, X, y = fitted
        display = GramDisplay.from_estimator(model)
        assert [t.get_text() for t in display.axes_[0].get_xticklabels()] == ["0", "1", "2"]
        assert display.deviation_ < 1e-6
        means = GramDisplay.from_estimator(model, X, y)
        np.testing.assert_allclose(
            means.cosines, GramDisplay.from_predictions(y, model.transform(X)).cosines
        )
        with pytest.raises(ValueError, match="Pass X and y"):
            GramDisplay.from_estimator(model, X)

    def test_many_classes_are_drawn_without_numbers_and_names(self):
        display = GramDisplay.from_proxies(simplex(40, 39))
        assert len(display.axes_[0].texts) == 0
        assert len(display.axes_[0].get_xticks()) == 0

    def test_an_ideal_of_another_size_is_refused(self):
        with pytest.raises(ValueError, match="ideal has shape"):
            GramDisplay(np.eye(3), ideal=np.eye(4)).plot()


class TestRetrieval:
    def test_tiles_are_the_images_of_the_nearest_neighbours(self):
        y, z, _ = cloud(3, 4, n=30, noise=1.0)
        pictures = images(30, 5, 4)
        display = RetrievalDisplay.from_predictions(y, z, pictures, n_queries=4, k=3)
        for i in range(4):
            query = display.images_[i, 0].get_array()
            row = next(j for j in range(30) if np.array_equal(pictures[j], query))
            order = sorted((j for j in range(30) if j != row), key=lambda j: -(z[j] @ z[row]))
            for j, tile in zip(order, display.images_[i, 1:], strict=False):
                np.testing.assert_array_equal(tile.get_array(), pictures[j])
            np.testing.assert_array_equal(display.wrong_[i], y[order[:3]] != y[row])

    def test_wrong_neighbours_are_crossed_and_framed_in_another_way(self):
        y, z, _ = cloud(3, 4, n=30, noise=1.0)
        display = RetrievalDisplay.from_predictions(y, z, images(30, 4, 4), n_queries=4, k=3)
        assert 0 < display.wrong_.sum() < display.wrong_.size
        frames = np.array(display.ax_.patches, dtype=object).reshape(4, 3)
        crosses = display.crosses_.get_xydata()
        assert len(crosses) == display.wrong_.sum()
        for frame, wrong in zip(frames.flat, display.wrong_.flat, strict=True):
            assert frame.get_linestyle() in (("--", "dashed") if wrong else ("-", "solid"))
            assert (frame.get_edgecolor() == to_rgba("#D55E00")) == wrong
            box = frame.get_bbox()
            assert sum(box.contains(*cross) for cross in crosses) == wrong
        assert f"{display.wrong_.sum()} of 12 wrong" in display.ax_.get_title()

    def test_labels_stand_over_their_tiles(self):
        names = ["ant", "bee", "a very long name"]
        y, z, _ = cloud(3, 4, n=30, names=names)
        display = RetrievalDisplay.from_predictions(y, z, images(30, 4, 4), n_queries=2, k=2)
        texts = [t.get_text() for t in display.ax_.texts]
        expected = [[a, *b] for a, b in zip(display.labels, display.neighbour_labels, strict=True)]
        short = {"a very long name": "a very lo…"}
        assert texts == [short.get(name, name) for row in expected for name in row]

    def test_names_that_differ_are_not_cut_to_the_same(self):
        names = ["armenian letter ayb", "armenian letter ben", "georgian letter an"]
        y, z, _ = cloud(3, 4, n=30, names=names, noise=2.0)
        display = RetrievalDisplay.from_predictions(y, z, images(30, 4, 4), n_queries=9, k=3)
        assert {t.get_text() for t in display.ax_.texts} == {"arm…ayb", "arm…ben", "georgian …"}

    @pytest.mark.parametrize("searched", ["themselves", "gallery"])
    def test_only_queries_whose_nearest_is_wrong_are_picked_where_asked_for(self, searched):
        y, z, _ = cloud(3, 4, n=60, noise=1.0)
        w, labels, stored = z, y, {}
        if searched == "gallery":
            w, labels, y, z = z[:20], y[:20], y[20:], z[20:]
            stored = {"gallery": images(20, 4, 4), "gallery_labels": labels}
            stored["gallery_embeddings"] = w
        cosines = z @ w.T - (2 * np.eye(60) if searched == "themselves" else 0)
        wrong = np.flatnonzero(labels[cosines.argmax(1)] != y)
        pictures, arguments = images(len(z), 4, 4), {"k": 3, "pick": "wrong", **stored}
        display = RetrievalDisplay.from_predictions(y, z, pictures, n_queries=len(z), **arguments)
        assert 2 < len(wrong) == len(display.queries) < len(z)
        assert display.wrong_[:, 0].all()
        places = [[np.array_equal(a, b) for b in pictures].index(True) for a in display.queries]
        assert sorted(places) == wrong.tolist()
        two = RetrievalDisplay.from_predictions(y, z, pictures, n_queries=2, **arguments)
        np.testing.assert_array_equal(two.queries, display.queries[:2])

    def test_wrong_ones_are_searched_for_until_there_are_enough(self, monkeypatch):
        y, z, _ = cloud(3, 4, n=60, noise=1.0)
        arguments = {"n_queries": 60, "k": 1, "pick": "wrong"}
        whole = RetrievalDisplay.from_predictions(y, z, images(60, 4, 4), **arguments)
        monkeypatch.setattr("skhug.plotting._retrieval._BLOCK", 7)
        blocks = RetrievalDisplay.from_predictions(y, z, images(60, 4, 4), **arguments)
        np.testing.assert_array_equal(blocks.queries, whole.queries)

    def test_a_gallery_is_searched_instead(self):
        y, z, _ = cloud(3, 4, n=12)
        pictures, stored = images(12, 4, 4), images(12, 4, 4)[::-1]
        gallery = {"gallery": stored, "gallery_labels": y, "gallery_embeddings": z}
        display = RetrievalDisplay.from_predictions(y, z, pictures, **gallery, n_queries=12, k=1)
        for query, found in display.images_:
            row = next(j for j in range(12) if np.array_equal(pictures[j], query.get_array()))
            np.testing.assert_array_equal(found.get_array(), stored[row])

    @pytest.mark.parametrize("shape", [(3, 6, 5), (6, 5, 3)])
    def test_colours_first_or_last_are_drawn_as_colours(self, shape):
        y, z, _ = cloud(2, 3, n=8)
        pictures = images(8, *shape)
        display = RetrievalDisplay.from_predictions(y, z, pictures, n_queries=8, k=1)
        last = np.moveaxis(pictures, 1, 3) if shape[0] == 3 else pictures
        tiles = [tile.get_array() for tile in display.images_[:, 0]]
        assert {t.shape for t in tiles} == {(6, 5, 3)}
        assert np.sum(tiles) == pytest.approx(last.sum() / 255)

    def test_rows_of_an_estimator_are_searched_by_its_embeddings(self, digits):
        X, y = digits[0][:200], digits[1][:200]
        model = HUGEmbedder(max_epochs=1, random_state=0).fit(X, y)
        display = RetrievalDisplay.from_estimator(model, X, y, n_queries=3, k=2, random_state=1)
        given = RetrievalDisplay.from_predictions(
            y, model.transform(X), X.reshape(-1, 8, 8), n_queries=3, k=2, random_state=1
        )
        np.testing.assert_array_equal(display.neighbours, given.neighbours)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"k": 30}, "k=30: pass 1 to 29"),
            ({"n_queries": 31}, "n_queries=31: pass 1 to 30"),
            ({"pick": "wrongs"}, "pick='wrongs': pass one of 'random', 'wrong'"),
            (
                {"pick": "wrong", "embeddings": np.eye(3)[np.arange(30) % 3]},
                "is of its class: pass",
            ),
            ({"images": np.zeros((30, 7))}, "7 features are no square"),
            ({"gallery": np.zeros((30, 4, 4))}, "Pass gallery, gallery_labels and"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, change, message):
        y, z, _ = cloud(3, 4, n=30)
        arguments = {"y": y, "embeddings": z, "images": images(30, 4, 4), **change}
        with pytest.raises(ValueError, match=message):
            RetrievalDisplay.from_predictions(**arguments)


class TestAngle:
    def test_angles_equal_naive_loops(self):
        y, z, _ = cloud(3, 4, n=15)
        display = AngleDisplay.from_predictions(y, z)
        within, between = [], []
        for i in range(15):
            for j in range(i):
                angle = np.rad2deg(np.arccos(z[i] @ z[j]))
                (within if y[i] == y[j] else between).append(angle)
        np.testing.assert_allclose(np.sort(display.within), np.sort(within))
        np.testing.assert_allclose(np.sort(display.between), np.sort(between))

    def test_histograms_are_shares_of_the_pairs(self):
        display = AngleDisplay([1.0, 1.5, 3.0, 9.0], [90.5]).plot()
        within, between = (patch.get_xy() for patch in display.ax_.patches)
        assert within[:, 1].max() == 50.0
        assert between[:, 1].max() == 100.0
        assert set(between[between[:, 1] == 100.0, 0]) == {90.0, 92.0}
        assert display.ax_.patches[0].get_hatch()  # told apart without colour

    @pytest.mark.parametrize(
        ("n_classes", "n_components", "optimum", "name"),
        [
            (2, 2, [180], "simplex"),
            (4, 3, [np.rad2deg(np.arccos(-1 / 3))], "simplex"),
            (6, 3, [90, 180], "cross-polytope"),
            (5, 2, [72, 144], "regular polygon"),
            (7, 3, [], None),
        ],
    )
    def test_the_optimum_is_marked(self, n_classes, n_components, optimum, name):
        display = AngleDisplay.from_predictions(*cloud(n_classes, n_components)[:2])
        places = [line.get_xdata()[0] for line in display.optimum_lines_]
        np.testing.assert_allclose(places, optimum)
        legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
        assert [text for text in legend if "optimum" in text] == (
            [f"optimum: {name}, " + " and ".join(f"{a:.1f}°".replace(".0°", "°") for a in optimum)]
            if name
            else []
        )

    def test_many_rows_are_thinned_and_the_title_says_so(self):
        y, z, _ = cloud(3, 4)
        display = AngleDisplay.from_predictions(y, z, max_points=30)
        assert len(display.within) + len(display.between) == 30 * 29 // 2
        assert display.ax_.get_title().endswith("pairs of 30 of 60 rows")

    def test_one_class_is_refused(self):
        with pytest.raises(ValueError, match="two rows of one class and two classes"):
            AngleDisplay.from_predictions([0, 0, 0], np.eye(3))

    def test_it_draws_what_an_estimator_makes_of_rows(self, fitted):
        model, X, y = fitted
        display = AngleDisplay.from_estimator(model, X, y)
        given = AngleDisplay.from_predictions(y, model.transform(X))
        np.testing.assert_array_equal(display.within, given.within)


def every_display(ax=None):
    y, z, proxies = cloud(10, 9, names=[f"class number {c}" for c in range(10)])
    flat, flat_z, _ = cloud(3, 2)
    return {
        "history": lambda: HistoryDisplay.from_history(ROWS, ax=ax),
        "circle": lambda: SphereDisplay.from_predictions(flat, flat_z, ax=ax),
        "projection": lambda: SphereDisplay.from_predictions(y, z, proxies=proxies, ax=ax),
        "gram": lambda: GramDisplay.from_predictions(y, z, ax=ax),
        "retrieval": lambda: RetrievalDisplay.from_predictions(y, z, images(60, 4, 4), ax=ax),
        "angle": lambda: AngleDisplay.from_predictions(y, z, ax=ax),
        "solid": lambda: SphereDisplay.from_predictions(
            y, z, proxies=proxies, n_axes=3, ax=ax and ax.figure.add_subplot(projection="3d")
        ),
    }


@pytest.mark.parametrize("dpi", [72, 120])
@pytest.mark.parametrize("name", every_display())
def test_nothing_is_cut_off_and_legends_cover_no_label(name, dpi):
    display = every_display()[name]()
    display.figure_.set_dpi(dpi)
    display.figure_.savefig(io.BytesIO(), dpi=dpi)
    page = display.figure_.bbox
    for axes in display.figure_.axes:
        legend = axes.get_legend()
        labels = [axis.label for axis in axes._axis_map.values()]
        texts = [axes.title, *labels, *([legend] if legend else [])]
        for label in labels if legend else []:
            assert not legend.get_window_extent().overlaps(label.get_window_extent())
        for part in texts:
            box = part.get_window_extent()
            if box.width == 0:  # no text
                continue
            assert page.x0 - 1 <= box.x0, part
            assert box.x1 <= page.x1 + 1, part
            assert page.y0 - 1 <= box.y0, part
            assert box.y1 <= page.y1 + 1, part


@pytest.mark.parametrize("name", every_display())
def test_it_draws_into_given_axes(name):
    figure, (ax, _) = plt.subplots(1, 2, figsize=(12, 5))
    display = every_display(ax)[name]()
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    assert name == "solid" or display.ax_ is ax


def test_panels_need_axes_of_a_grid():
    with pytest.raises(ValueError, match="3 panels need axes that are part of a grid"):
        HistoryDisplay.from_history(ROWS, ax=plt.figure().add_axes((0, 0, 1, 1)))


@pytest.mark.parametrize(
    ("package", "extra", "draw"),
    [
        ("matplotlib", "plot", lambda: HistoryDisplay.from_history(ROWS)),
        ("plotly", "interactive", lambda: SphereDisplay(np.eye(3), [0, 1, 2]).to_html("x.html")),
    ],
)
def test_an_absent_package_names_its_extra(monkeypatch, tmp_path, package, extra, draw):
    import importlib

    def without(name, *args, load=importlib.import_module):
        if name.partition(".")[0] == package:
            raise ImportError(name)
        return load(name, *args)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ImportError, match=re.escape(f'pip install "skhug[{extra}]"')):
        draw()


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        (["a very long name", "bee"], ["a very lo…", "bee"]),
        (["ab letter x", "ab letter y", "ab letter x"], ["ab …x", "ab …y", "ab …x"]),
        (["abcdefghijk", "abcdefghijkl"], ["abc…", "abc…l"]),
        (["n02123045_tabby", "n02123159_tiger"], ["n02123045…", "n02123159…"]),
        (["red one 1, far too long", "red one 2", "red two 2, long"], None),
        ([f"{a} and the same in all of them {b}" for a in "xy" for b in "xy"], None),
        (["same 1 then 2 then 3", "same 1 then 2 then 4", "same 2 then 2 then 3"], None),
    ],
)
def test_names_stay_different_when_cut(labels, texts):
    cut = shown(labels, 10)
    assert texts is None or cut == texts
    assert len(set(cut)) == len(set(labels))
    assert max(map(len, cut)) <= 14
