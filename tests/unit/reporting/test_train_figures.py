"""Curves hold every member's history."""

from matplotlib.image import imread

from pipeline.reporting import train_figures

HEADER = "epoch,lr,train_loss,val_mcc,val_iou_water\n"


def test_every_member_is_drawn_and_empty_scores_are_gaps(tmp_path, monkeypatch):
    files = [tmp_path / "0.csv", tmp_path / "1.csv"]
    files[0].write_text(HEADER + "1,0.1,2.5,,0.1\n2,0.05,1.5,0.4,0.2\n")
    files[1].write_text(HEADER + "1,0.1,2.4,0.2,0.1\n2,0.05,1.4,0.5,0.3\n")
    drawn = {}
    finish = train_figures._finish
    monkeypatch.setattr(train_figures, "_finish", lambda axis, title, legend: (
        drawn.update({title: [line.get_ydata().tolist() for line in axis.lines]}), finish(axis, title, legend)))
    train_figures.draw_curves(tmp_path / "curves.png", files)
    assert drawn["training loss"] == [[2.5, 1.5], [2.4, 1.4]]
    assert len(drawn["scores on val"]) == 4
    assert imread(tmp_path / "curves.png").std() > 0
